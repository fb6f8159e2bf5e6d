use crate::support::{PASSWORD, Server, verdict};
use postern::proto::auth::v1 as pb;

#[tokio::test(flavor = "multi_thread")]
async fn all() {
    let server = Server::start().await;
    let tokens = server.login_admin().await;
    let answer = server.verify(&tokens.access_token).await;
    assert_eq!(verdict(&answer), (pb::Decision::Allow, pb::Reason::Unspecified));
    let next = server.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(next.rotation(), pb::Rotation::Advanced);
    let list = server.sessions(&tokens.access_token, true).await;
    assert_eq!(list.len(), 1);
    assert_eq!(server.logout(&tokens.refresh_token).await.ended_count, 1);
    assert_eq!(
        verdict(&server.verify(&tokens.access_token).await),
        (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked)
    );
    let _ = PASSWORD;
}
