//! What most pages of an event begin with: who looks, at which event, and how.

use axum::Extension;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::fields::{Fields, Query};
use crate::routes::Shop;
use crate::trouble::Trouble;
use crate::visitor::Visitor;

/// A visitor at something that a path names.
pub struct At {
    /// What pages work with.
    pub shop: Shop,
    /// Who looks.
    pub visitor: Visitor,
    /// What is named.
    pub id: String,
    /// The query.
    pub fields: Fields,
}

impl FromRequestParts<Shop> for At {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<At, Trouble> {
        let Path(id) = Path::<String>::from_request_parts(parts, shop)
            .await
            .map_err(|_| Trouble::NotFound("page"))?;
        let visitor = Extension::<Visitor>::from_request_parts(parts, shop).await;
        let Extension(visitor) = visitor.map_err(|error| {
            tracing::error!(%error, "a page is outside of the layer that says who is asking");
            Trouble::Internal
        })?;
        let Ok(Query(fields)) = Query::from_request_parts(parts, shop).await;
        Ok(At {
            shop: shop.clone(),
            visitor,
            id,
            fields,
        })
    }
}
