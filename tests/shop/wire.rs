//! A network between a browser and the shop that can lose what comes back: what was sent has arrived, and nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// See above.
pub struct Wire {
    /// Where browsers reach the shop through it.
    pub url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    loses: AtomicBool,
    lost: AtomicUsize,
}

impl Wire {
    /// One to the shop at this address.
    pub async fn to(url: &str) -> Wire {
        let shop: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let seen = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (browser, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(browser, shop, seen.clone()));
            }
        });
        Wire { url, state, task }
    }

    /// From now on answers are lost, or aren't.
    pub fn loses_answers(&self, loses: bool) {
        self.state.loses.store(loses, Ordering::SeqCst);
    }

    /// Answers that were lost.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut browser: TcpStream, shop: SocketAddr, state: Arc<State>) {
    let Ok(mut shop) = TcpStream::connect(shop).await else {
        return;
    };
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = browser.read(&mut asked) => match read {
                Ok(count) if count > 0 && shop.write_all(&asked[..count]).await.is_ok() => (),
                _ended => return,
            },
            read = shop.read(&mut answered) => match read {
                // The answer is there, so what was asked is done; the connection breaks before anybody hears of it.
                Ok(count) if count > 0 && state.loses.load(Ordering::SeqCst) => {
                    state.lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Ok(count) if count > 0 && browser.write_all(&answered[..count]).await.is_ok() => (),
                _ended => return,
            },
        }
    }
}
