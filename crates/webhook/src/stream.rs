//! A TCP connection under TLS that keeps no buffer while nothing arrives.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes per read: fits most reviews at once. rustls itself asks for 4 KiB.
const READ_AT_ONCE: usize = 8 * 1024;

/// A connection that reads in large pieces and limits the bytes received before its handshake is complete.
pub struct FrugalStream {
    tcp: TcpStream,
    /// Bytes that were read but not requested yet.
    rest: Vec<u8>,
    /// How many of them were handed out.
    given: usize,
    /// How many bytes may still arrive.
    allowance: usize,
}

impl FrugalStream {
    /// Accepts this many bytes until [`FrugalStream::lift_allowance`].
    pub fn new(tcp: TcpStream, allowance: usize) -> Self {
        Self { tcp, rest: Vec::new(), given: 0, allowance }
    }

    /// Removes the limit.
    pub fn lift_allowance(&mut self) {
        self.allowance = usize::MAX;
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
        let read = read.filled();
        self.allowance = match self.allowance.checked_sub(read.len()) {
            Some(left) => left,
            None => {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the handshake is too long",
                )));
            }
        };
        let (wanted, rest) = read.split_at(read.len().min(buffer.remaining()));
        buffer.put_slice(wanted);
        (self.rest, self.given) = (rest.to_vec(), 0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for FrugalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.rest.get(this.given..).unwrap_or_default();
        if waiting.is_empty() {
            return this.poll_fill(cx, buffer);
        }
        let given = waiting.len().min(buffer.remaining());
        buffer.put_slice(waiting.get(..given).unwrap_or_default());
        this.given += given;
        if this.given == this.rest.len() {
            this.rest = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FrugalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
