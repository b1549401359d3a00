//! A mail server that delivers to memory: the mailbox of `dev`, and the other end in tests.
//!
//! It speaks the part of SMTP (RFC 5321) that clients need to hand a message over: EHLO, HELO, MAIL, RCPT, DATA, RSET,
//! NOOP, VRFY and QUIT. No TLS, no authentication: bind it to a loopback address.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes of a line, its end included: RFC 5321 4.5.3.1.6, with room for what its extensions add.
const LINE_BYTES_MAX: usize = 4_096;
/// Bytes of a message; announced with SIZE.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Recipients of a message: RFC 5321 4.5.3.1.8.
const RECIPIENTS_MAX: usize = 100;
/// Conversations at a time; more wait.
const CONVERSATIONS_MAX: usize = 64;
/// How long a client may be silent.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedMail {
    /// When.
    pub received_at: DateTime<Utc>,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, lines ended by CRLF.
    pub data: String,
}

impl ReceivedMail {
    /// The first header of that name, whatever its case; unfolded, not decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self
            .data
            .split("\r\n\r\n")
            .next()?
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        let mut headers = head.split("\r\n").filter_map(|line| line.split_once(':'));
        headers
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    }
}

/// What to do to the next message instead of taking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkFault {
    /// Answer RCPT with this line, e.g. `550 5.1.1 no such user`.
    RefuseRecipient(String),
    /// Answer the end of DATA with this line, e.g. `451 4.3.0 try again later`.
    RefuseMessage(String),
    /// Take the message, and cut the connection instead of saying so.
    CutAfterMessage,
}

#[derive(Default)]
struct Mailbox {
    messages: VecDeque<ReceivedMail>,
    faults: VecDeque<SinkFault>,
    /// Which share of messages is put off.
    put_off: f64,
}

struct Shared {
    mailbox: Mutex<Mailbox>,
    /// Messages taken so far.
    total: watch::Sender<u64>,
    keep: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, mail: ReceivedMail) {
        let mut mailbox = self.lock();
        while mailbox.messages.len() >= self.keep {
            mailbox.messages.pop_front();
        }
        mailbox.messages.push_back(mail);
        drop(mailbox);
        self.total.send_modify(|total| *total += 1);
    }

    fn fault(&self, wanted: impl Fn(&SinkFault) -> bool) -> Option<SinkFault> {
        let mut mailbox = self.lock();
        if mailbox.faults.front().is_some_and(wanted) {
            mailbox.faults.pop_front()
        } else {
            None
        }
    }
}

/// The running server; stops when dropped.
pub struct SmtpSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl SmtpSink {
    /// Listens on `address` (port 0: any) and keeps the last `keep` messages.
    pub async fn start(address: SocketAddr, keep: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mailbox: Mutex::default(),
            total: watch::Sender::new(0),
            keep: keep.max(1),
        });
        let stop = CancellationToken::new();
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(accept(listener, shared.clone(), stop.clone())),
        );
        Ok(SmtpSink {
            address,
            shared,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For [`super::MailConfig`].
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// The messages kept, the oldest first.
    pub fn messages(&self) -> Vec<ReceivedMail> {
        self.shared.lock().messages.iter().cloned().collect()
    }

    /// Messages taken since the start, the forgotten ones included.
    pub fn total(&self) -> u64 {
        *self.shared.total.borrow()
    }

    /// Waits until so many messages have been taken.
    pub async fn wait_for(&self, total: u64) {
        let mut taken = self.shared.total.subscribe();
        // The sender lives in `self`, so it can't be gone.
        let _ = taken.wait_for(|taken| *taken >= total).await;
    }

    /// From now on this share of messages is put off with a 451.
    pub fn put_off(&self, share: f64) {
        self.shared.lock().put_off = share;
    }

    /// Does this to the next message; several are done one after the other.
    pub fn fail_next(&self, fault: SinkFault) {
        self.shared.lock().faults.push_back(fault);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let conversations = Arc::new(Semaphore::new(CONVERSATIONS_MAX));
    loop {
        let Ok(permit) = conversations.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the mailbox could not accept a connection");
                // Out of file descriptors, most likely: don't spin until some are free.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled(converse(stream, &shared)).await {
                tracing::debug!(%error, "a conversation with the mailbox ended early");
            }
            drop(permit);
        });
    }
}

/// A message on its way.
#[derive(Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

async fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut envelope = Envelope::default();
    say(&mut writer, "220 sagaline mailbox ESMTP").await?;
    while let Some(line) = read_line(&mut reader).await? {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                let size = format!("250 SIZE {MESSAGE_BYTES_MAX}");
                say(
                    &mut writer,
                    &format!("250-sagaline\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n{size}"),
                )
                .await?;
            }
            "HELO" => say(&mut writer, "250 sagaline").await?,
            "NOOP" => say(&mut writer, "250 OK").await?,
            "VRFY" => say(&mut writer, "252 send it and see").await?,
            "RSET" => {
                envelope = Envelope::default();
                say(&mut writer, "250 OK").await?;
            }
            "MAIL" => {
                let answer = mail_from(&mut envelope, rest);
                say(&mut writer, &answer).await?;
            }
            "RCPT" => {
                let answer = rcpt_to(&mut envelope, rest, shared);
                say(&mut writer, &answer).await?;
            }
            "DATA" if envelope.from.is_none() || envelope.to.is_empty() => {
                say(&mut writer, "503 MAIL and RCPT first").await?;
            }
            "DATA" => {
                say(&mut writer, "354 go ahead, end with a dot").await?;
                let message = read_message(&mut reader).await?;
                let Some(answer) = deliver(std::mem::take(&mut envelope), message, shared) else {
                    return Ok(());
                };
                say(&mut writer, &answer).await?;
            }
            "QUIT" => return say(&mut writer, "221 bye").await,
            _ => say(&mut writer, "502 not here").await?,
        }
    }
    Ok(())
}

fn mail_from(envelope: &mut Envelope, rest: &str) -> String {
    match path(rest, "FROM:") {
        Some(_) if envelope.from.is_some() => "503 one sender is enough".to_owned(),
        // An empty sender is a bounce's, and fine.
        Some(from) => {
            envelope.from = Some(from);
            "250 OK".to_owned()
        }
        None => "501 MAIL FROM:<address>".to_owned(),
    }
}

fn rcpt_to(envelope: &mut Envelope, rest: &str, shared: &Shared) -> String {
    if envelope.from.is_none() {
        return "503 MAIL first".to_owned();
    }
    match path(rest, "TO:").filter(|to| !to.is_empty()) {
        None => "501 RCPT TO:<address>".to_owned(),
        Some(_) if envelope.to.len() >= RECIPIENTS_MAX => "452 too many recipients".to_owned(),
        Some(to) => match shared.fault(|fault| matches!(fault, SinkFault::RefuseRecipient(_))) {
            Some(SinkFault::RefuseRecipient(answer)) => answer,
            _ => {
                envelope.to.push(to);
                "250 OK".to_owned()
            }
        },
    }
}

/// The address of `FROM:<address> PARAMETER…`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let rest = rest.trim_start();
    let (head, tail) = (rest.get(..keyword.len())?, rest.get(keyword.len()..)?);
    let inner = tail.trim_start().strip_prefix('<')?;
    head.eq_ignore_ascii_case(keyword)
        .then(|| inner.split_once('>').map(|(address, _)| address.to_owned()))?
}

/// Takes the message, or does with it what a test asked for. None: the connection is to be cut.
fn deliver(envelope: Envelope, message: Option<String>, shared: &Shared) -> Option<String> {
    let Some(data) = message else {
        return Some("552 too big".to_owned());
    };
    let fault = shared.fault(|fault| !matches!(fault, SinkFault::RefuseRecipient(_)));
    if let Some(SinkFault::RefuseMessage(answer)) = fault {
        return Some(answer);
    }
    if rand::random::<f64>() < shared.lock().put_off {
        return Some("451 4.3.0 try again later".to_owned());
    }
    let from = envelope.from.unwrap_or_default();
    shared.take(ReceivedMail {
        received_at: Utc::now(),
        from,
        to: envelope.to,
        data,
    });
    (fault != Some(SinkFault::CutAfterMessage)).then(|| "250 taken".to_owned())
}

/// Reads lines up to the lone dot. None: it was longer than it may be, and was read to its end and forgotten.
async fn read_message(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<String>> {
    let mut data = Vec::new();
    let mut too_big = false;
    loop {
        let line = read_bytes(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = line.as_slice();
        if text == b"." {
            return Ok((!too_big).then(|| String::from_utf8_lossy(&data).into_owned()));
        }
        // RFC 5321 4.5.2: a leading dot was doubled by the sender.
        let text = text.strip_prefix(b".").unwrap_or(text);
        too_big |= data.len() + text.len() + 2 > MESSAGE_BYTES_MAX;
        if !too_big {
            data.extend_from_slice(text);
            data.extend_from_slice(b"\r\n");
        }
    }
}

async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<String>> {
    Ok(read_bytes(reader)
        .await?
        .map(|line| String::from_utf8_lossy(&line).into_owned()))
}

/// One line without its end; none at the end of the connection.
async fn read_bytes(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = reader.take(LINE_BYTES_MAX as u64);
    tokio::time::timeout(IDLE_MAX, bounded.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let problem = format!("a line was cut, or has more than {LINE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

async fn say(writer: &mut OwnedWriteHalf, answer: &str) -> io::Result<()> {
    writer.write_all(format!("{answer}\r\n").as_bytes()).await
}
