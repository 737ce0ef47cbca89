//! The API as a client sees it: requests to the router of a node in memory.
#![allow(clippy::unwrap_used)]

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use driftless_core::name::{Document, Kind};
use serde_json::json;
use tower_service::Service as _;

use super::testing::{Bench, NOON_MS};
use super::*;

mod auditing;
mod causes;
mod impacts;
mod kubernetes;
mod own;
mod past;
mod rendering;
mod resolving;
mod reverting;
mod serving;
mod watching;

/// A node and somebody who talks to it.
pub(super) struct Rig {
    pub(super) bench: Arc<Bench>,
    pub(super) api: Api,
    pub(super) router: Router,
    pub(super) caller: Option<Caller>,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(super) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

impl Rig {
    pub(super) fn hub() -> Self {
        Self::of(Bench::hub())
    }

    pub(super) fn of(bench: Bench) -> Self {
        let bench = Arc::new(bench);
        let backend: Arc<dyn Backend> = Arc::clone(&bench) as Arc<dyn Backend>;
        let caller = Caller { name: "user/mia".into(), roles: vec!["admin".into()], site: None };
        let api = Api::new(backend);
        Self { bench, router: api.clone().router(), api, caller: Some(caller) }
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> axum::response::Response {
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(caller.clone());
        }
        self.router.clone().call(request).await.unwrap()
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.send(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn get_table(&self, path: &str) -> Value {
        let request =
            Request::get(path).header(header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io");
        self.ask(request.body(Body::empty()).unwrap()).await.json()
    }

    pub(super) async fn say(&self, method: Method, path: &str, media_type: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, media_type);
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.say(Method::POST, path, "application/json", body).await
    }

    /// Creates a resource in the namespace acme.
    pub(super) async fn create(&self, plural: &str, resource: &Value) -> Value {
        let answer = self.post(&format!("/apis/driftless.dev/v1/namespaces/acme/{plural}"), resource).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    }
}

pub(super) const PROFILES: &str = "/apis/driftless.dev/v1/namespaces/acme/profiles";

pub(super) fn store_base() -> Value {
    json!({
        "apiVersion": "driftless.dev/v1",
        "kind": "Profile",
        "metadata": {"name": "store-base", "namespace": "acme", "labels": {"team": "retail"}},
        "spec": {
            "priority": 200,
            "selector": {"matchLabels": {"class": "store"}},
            "values": {"pos": {"version": "2.3.1", "replicas": 2}},
        },
    })
}

pub(super) fn site(name: &str, country: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"class": "store", "country": country}},
        "spec": {"region": "eu"},
    })
}

pub(super) async fn report(rig: &Rig, site: &str, status: Value) {
    holds(rig, Kind::SiteStatus, site, json!({"status": status})).await;
}

/// Puts a document of the namespace acme into the replica, past what the API refuses.
pub(super) async fn holds(rig: &Rig, kind: Kind, name: &str, resource: Value) {
    use driftless_core::replica::{ChangeRequest, Write};
    let document = Document::new(kind, "acme", name).unwrap();
    let change = ChangeRequest::Put(write::with_identity(&document, resource));
    let write = Write::new(document, change, "ns/acme/site/store-17/node/a", NOON_MS);
    rig.bench.write(Box::new(move |held| drop(held.write(write).unwrap()))).await.unwrap();
}
