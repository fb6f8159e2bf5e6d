//! Calls by hand: any bytes, any headers, and all that comes back, for what a well-behaved client cannot send or see.

use std::collections::BTreeMap;

use http_body_util::{BodyExt as _, Full};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::transport::Channel;
use tower::ServiceExt as _;

/// An answer with everything in it, headers and trailers together.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) code: Code,
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    pub(crate) body: Bytes,
}

/// One message as it goes over the wire: flag, length, bytes.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// Sends `body` as it is. An error says that the connection or the stream was ended without an answer.
pub(crate) async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Raw, String> {
    let mut request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::new(Bytes::from(body)))).unwrap();
    let response = channel.clone().oneshot(request).await.map_err(|why| format!("{why:?}"))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|why| format!("{why:?}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let all = parts.headers.iter().chain(trailers.iter());
    let metadata: BTreeMap<_, _> = all.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let code = metadata.get("grpc-status").map_or(Code::Unknown, |code| Code::from_bytes(code));
    Ok(Raw { code, metadata, body: body.to_bytes() })
}

impl Raw {
    /// The trailer of that name, as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.metadata.get(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    /// The reason of a refusal.
    pub(crate) fn reason(&self) -> String {
        let status = self.status();
        crate::support::reason(&status)
    }

    pub(crate) fn status(&self) -> tonic::Status {
        let headers: http::HeaderMap = self
            .metadata
            .iter()
            .map(|(name, value)| {
                (name.parse::<http::HeaderName>().unwrap(), http::HeaderValue::from_bytes(value).unwrap())
            })
            .collect();
        tonic::Status::from_header_map(&headers).unwrap_or_else(|| tonic::Status::unknown("no status"))
    }
}
