//! Lists that come in pages.

use super::failure::Failure;

/// All items, and an empty token.
pub(super) async fn all<T>(
    fetch: impl AsyncFn(String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    up_to(usize::MAX, fetch).await
}

/// The items of as many pages as it takes to have `limit` of them, and the token of the next page if there is one.
pub(super) async fn up_to<T>(
    limit: usize,
    fetch: impl AsyncFn(String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = fetch(token.clone()).await?;
        items.extend(page);
        if next.is_empty() || items.len() >= limit {
            return Ok((items, next));
        }
        if next == token {
            return Err(Failure::local("the server's list does not end: it names the same page again"));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(token: String) -> Result<(Vec<i32>, String), Failure> {
        Ok(match token.as_str() {
            "" => (vec![1, 2], "a".to_owned()),
            "a" => (vec![3], "b".to_owned()),
            _ => (vec![4], String::new()),
        })
    }

    #[tokio::test]
    async fn pages_are_joined_up_to_a_limit() {
        assert_eq!(all(fetch).await.unwrap(), (vec![1, 2, 3, 4], String::new()));
        assert_eq!(up_to(3, fetch).await.unwrap(), (vec![1, 2, 3], "b".to_owned()));
    }

    #[tokio::test]
    async fn a_list_that_goes_in_circles_ends() {
        let circle = async |_: String| Ok((vec![1], "again".to_owned()));
        assert!(all(circle).await.is_err());
    }
}
