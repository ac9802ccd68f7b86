use super::*;

fn columns() -> Vec<Column> {
    let kinds = [Kind::Integer, Kind::Flag, Kind::Text, Kind::Bytes];
    kinds.into_iter().map(|kind| Column { name: format!("{kind:?}"), kind }).collect()
}

fn read_back(row: &[Value]) -> Option<Row> {
    let mut line = Vec::new();
    encode(&mut line, row).unwrap();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "a row is one line");
    decode(serde_json::from_slice(&line).unwrap(), &columns())
}

#[test]
fn every_value_is_read_as_it_was_written() {
    let text = "\0 \n \" \\ \u{2028} naïve 👩‍👩‍👧‍👦".to_owned();
    let rows = [
        vec![Value::Integer(i64::MIN), Value::Flag(true), Value::Text(text), Value::Bytes((0..=u8::MAX).collect())],
        vec![Value::Integer(i64::MAX), Value::Flag(false), Value::Text(String::new()), Value::Bytes(Vec::new())],
        vec![Value::Null, Value::Null, Value::Null, Value::Null],
    ];
    for row in rows {
        assert_eq!(read_back(&row), Some(row));
    }
}

#[test]
fn a_row_that_does_not_fit_its_columns_is_none() {
    let sound = [Value::Integer(1), Value::Flag(true), Value::Text("a".to_owned()), Value::Bytes(vec![1])];
    assert!(read_back(&sound).is_some());
    assert_eq!(read_back(&sound[..3]), None);
    for at in 0..sound.len() {
        let mut row = sound.to_vec();
        row[at] = if at == 1 { Value::Integer(1) } else { Value::Flag(true) };
        assert_eq!(read_back(&row), None, "column {at}");
    }
    let text = r#"[1.5, true, "a", "AQ=="]"#;
    assert_eq!(decode(serde_json::from_str(text).unwrap(), &columns()), None);
    assert_eq!(decode(serde_json::from_str(r#"[1, true, "a", "no base64"]"#).unwrap(), &columns()), None);
}
