//! Which methods there are, so that what is counted and traced is named by them and by nothing that a caller made up.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::metrics::{self, Metrics};
use crate::proto::FILE_DESCRIPTOR_SET;

/// The contract's methods, and those of health. Read once, from the same bytes that reflection shows.
static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let sets = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    let services = files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().map(move |service| (package.clone(), service))
    });
    services
        .flat_map(|(package, service)| {
            let short = service.name().to_owned();
            let names = service.method.into_iter().map(move |method| Name {
                path: format!("{package}.{short}/{}", method.name()),
                service: format!("{package}.{short}"),
                short: short.clone(),
                method: method.name().to_owned(),
            });
            names.collect::<Vec<_>>()
        })
        .collect()
});

const OTHER: &str = "other";

struct Name {
    path: String,
    service: String,
    short: String,
    method: String,
}

/// One method.
#[derive(Debug)]
pub(super) struct Named {
    /// Without a slash before it; none of what is no method.
    pub(super) path: Option<&'static str>,
    /// With its package.
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    pub(super) counts: metrics::Rpc,
}

/// All methods. Clones share them.
#[derive(Clone, Debug)]
pub struct Rpcs(Arc<Table>);

#[derive(Debug)]
struct Table {
    known: HashMap<&'static str, Named, RandomState>,
    other: Named,
}

impl Rpcs {
    pub fn counted_by(metrics: &Metrics) -> Self {
        let named = |name: &'static Name| {
            let counts = metrics.rpc(&name.short, &name.method);
            (name.path.as_str(), Named { path: Some(&name.path), service: &name.service, method: &name.method, counts })
        };
        let other = Named { path: None, service: OTHER, method: OTHER, counts: metrics.rpc(OTHER, OTHER) };
        Self(Arc::new(Table { known: NAMES.iter().map(named).collect(), other }))
    }

    /// `path` has no slash before it.
    pub(super) fn named(&self, path: &str) -> &Named {
        self.0.known.get(path).unwrap_or(&self.0.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_name_and_what_is_none_shares_one() {
        let rpcs = Rpcs::counted_by(&Metrics::new());
        let told = |path| {
            let named = rpcs.named(path);
            (named.service, named.method)
        };
        assert_eq!(told("postern.auth.v1.AuthService/Verify"), ("postern.auth.v1.AuthService", "Verify"));
        assert_eq!(told("grpc.health.v1.Health/Check"), ("grpc.health.v1.Health", "Check"));
        for path in ["", "postern.auth.v1.AuthService/", "postern.auth.v1.AuthService/verify", "a/b"] {
            assert_eq!(told(path), (OTHER, OTHER), "{path}");
        }
        assert!(NAMES.len() > 40, "{}", NAMES.len());
    }
}
