//! Media up and down.

use whatsapp_rust::media::{ImageOptions, image_message};
use whatsapp_rust::wacore::download::MediaType;

use super::client::{Device, PATIENCE, jid, network};

#[tokio::test]
async fn sends_and_receives_images() {
    let network = network().await;
    let (ada, ben) = (network.add_phone("Ada"), network.add_phone("Ben"));
    let at_ada = Device::linked(&network, &ada).await;
    let at_ben = Device::linked(&network, &ben).await;

    let bytes = vec![42_u8; 200_000];
    let upload = at_ada.client.upload(bytes.clone(), MediaType::Image, Default::default()).await.unwrap();
    let image = image_message(upload, ImageOptions { caption: Some("ours".into()), ..ImageOptions::default() });
    at_ada.client.send_message(jid(&ben), image).await.unwrap();
    let received = at_ben
        .wait("an image", |event| {
            event.messages().find_map(|message| message.message.image_message.as_option().cloned())
        })
        .await;
    assert_eq!(at_ben.client.download(&received).await.unwrap(), bytes);
    let at_phone = ben.wait_for(PATIENCE, |message| message.message.image_message.is_set()).await.unwrap();
    assert_eq!(at_phone.text.as_deref(), Some("ours"));

    ben.send_image(ada.number(), bytes.clone(), "theirs").await.unwrap();
    let received = at_ada
        .wait("an image", |event| {
            event.messages().find_map(|message| {
                let image = message.message.image_message.as_option()?;
                (image.caption.as_deref() == Some("theirs")).then(|| image.clone())
            })
        })
        .await;
    assert_eq!(at_ada.client.download(&received).await.unwrap(), bytes);
}
