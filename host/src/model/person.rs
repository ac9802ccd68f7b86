//! Somebody on WhatsApp, by every address that is known.

use serde::{Deserialize, Serialize};

use super::{Chat, Phone};

/// Somebody: the address to write to, which is the number's where the number is known, and the other one (the LID beside a
/// number, or the reverse) where that is known, too. Written with the address, the number and the LID, each null where it
/// is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Person {
    /// The address to write to.
    pub chat: Chat,
    /// The other address.
    pub alt: Option<Chat>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    chat: Chat,
    phone: Option<Phone>,
    lid: Option<Chat>,
}

impl Person {
    /// Somebody with these addresses, in any order.
    pub fn of(address: Chat, other: Option<Chat>) -> Self {
        match other.filter(|other| *other != address) {
            Some(number) if address.phone().is_none() && number.phone().is_some() => {
                Self { chat: number, alt: Some(address) }
            }
            other => Self { chat: address, alt: other },
        }
    }

    /// The number.
    pub fn phone(&self) -> Option<Phone> {
        self.addresses().find_map(Chat::phone)
    }

    /// The hidden address.
    pub fn lid(&self) -> Option<&Chat> {
        self.addresses().find(|address| address.is_lid())
    }

    /// Whether this is one of their addresses.
    pub fn has(&self, address: &Chat) -> bool {
        self.addresses().any(|own| own == address)
    }

    /// The other address of somebody whose this one is.
    pub fn beside(&self, address: &Chat) -> Option<&Chat> {
        if self.has(address) { self.addresses().find(|own| *own != address) } else { None }
    }

    fn addresses(&self) -> impl Iterator<Item = &Chat> {
        [Some(&self.chat), self.alt.as_ref()].into_iter().flatten()
    }
}

impl From<Written> for Person {
    fn from(Written { chat, phone, lid }: Written) -> Self {
        let number = phone.map(|phone| Chat::person(&phone));
        let alt = [number, lid].into_iter().flatten().find(|other| *other != chat);
        Self { chat, alt }
    }
}

impl From<Person> for Written {
    fn from(person: Person) -> Self {
        let (phone, lid) = (person.phone(), person.lid().cloned());
        Self { chat: person.chat, phone, lid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "6281381393739@s.whatsapp.net";
    const LID: &str = "100000000000001@lid";

    fn chat(text: &str) -> Chat {
        text.parse().unwrap()
    }

    #[test]
    fn is_written_to_by_number_wherever_the_number_is_known() {
        for (address, other) in [(NUMBER, LID), (LID, NUMBER)] {
            let person = Person::of(chat(address), Some(chat(other)));
            assert_eq!((person.chat.jid(), person.alt.as_ref().map(Chat::jid)), (NUMBER, Some(LID)));
            assert_eq!((person.phone().unwrap().as_str(), person.lid().unwrap().jid()), ("6281381393739", LID));
            assert_eq!(
                (person.beside(&chat(LID)), person.beside(&chat(NUMBER))),
                (Some(&chat(NUMBER)), Some(&chat(LID)))
            );
        }
        let hidden = Person::of(chat(LID), None);
        assert_eq!((hidden.chat.jid(), hidden.phone(), hidden.beside(&chat(LID))), (LID, None, None));
        assert_eq!(Person::of(chat(LID), Some(chat(LID))), hidden, "an address is not its own other");
    }

    #[test]
    fn states_number_and_lid_and_is_read_as_it_was_written() {
        let table = [
            (
                Person::of(chat(NUMBER), Some(chat(LID))),
                format!(r#"{{"chat":"{NUMBER}","phone":"6281381393739","lid":"{LID}"}}"#),
            ),
            (Person::of(chat(LID), None), format!(r#"{{"chat":"{LID}","phone":null,"lid":"{LID}"}}"#)),
            (
                Person::of(chat("120363302171476233@g.us"), None),
                r#"{"chat":"120363302171476233@g.us","phone":null,"lid":null}"#.to_owned(),
            ),
        ];
        for (person, written) in table {
            assert_eq!(serde_json::to_string(&person).unwrap(), written);
            assert_eq!(serde_json::from_str::<Person>(&written).unwrap(), person);
        }
    }
}
