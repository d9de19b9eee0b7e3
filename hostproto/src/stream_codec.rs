//! How messages of the host stream are put into gRPC's frames.
//!
//! As `tonic_prost::ProstCodec`, which begins every stream with two buffers of 8 KiB and keeps them: of
//! what ten thousand idle hosts take, half. Here a buffer is made for a message, as long as it, and goes
//! with it.

use bytes::Buf as _;
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// What is kept for a message that is yet to come: an acknowledgement and its frame fit.
const KEPT_BYTES: usize = 64;
/// Messages are handed to the transport together up to this size.
const YIELD_BYTES: usize = 32 * 1024;

fn buffers() -> BufferSettings {
    BufferSettings::new(KEPT_BYTES, YIELD_BYTES)
}

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub struct StreamCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StreamCodec<T, U> {
    fn default() -> Self {
        StreamCodec(PhantomData)
    }
}

impl<T, U> Codec for StreamCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = StreamEncoder<T>;
    type Decoder = StreamDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        StreamEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        StreamDecoder(PhantomData)
    }
}

/// See [`StreamCodec`].
#[derive(Debug)]
pub struct StreamEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for StreamEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// See [`StreamCodec`].
#[derive(Debug)]
pub struct StreamDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StreamDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The whole message is there, and nothing else.
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let message = U::decode(bytes);
        message.map(Some).map_err(|error| Status::internal(format!("bad message: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
