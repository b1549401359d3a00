//! A mail server that takes everything and remembers to whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Mails taken, by recipient.
#[derive(Clone, Default)]
pub struct Mails(Arc<Mutex<HashMap<String, u32>>>);

impl Mails {
    /// Takes mails from now on; gives the port.
    pub async fn serve(&self) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mails = mails.clone();
                // A client killed in mid-conversation is none of our business.
                tokio::spawn(async move {
                    let _ = mails.converse(stream).await;
                });
            }
        });
        port
    }

    pub fn taken_for(&self, recipient: &str) -> u32 {
        self.0.lock().unwrap().get(recipient).copied().unwrap_or_default()
    }

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (mut recipient, mut in_data) = (String::new(), false);
        write.write_all(b"220 survival\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let verb = line.to_ascii_uppercase();
            let answer: &[u8] = if in_data && line == "." {
                in_data = false;
                *self.0.lock().unwrap().entry(recipient.clone()).or_default() += 1;
                b"250 taken\r\n"
            } else if in_data {
                continue;
            } else if verb.starts_with("DATA") {
                in_data = true;
                b"354 go on\r\n"
            } else if verb.starts_with("QUIT") {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            } else {
                if verb.starts_with("RCPT TO:") {
                    recipient = line[8..].trim().trim_matches(['<', '>']).to_owned();
                }
                b"250 fine\r\n"
            };
            write.write_all(answer).await?;
        }
        Ok(())
    }
}
