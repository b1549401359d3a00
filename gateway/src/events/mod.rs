//! Events: organisers make them at their venues; buyers find them, and see their seats as a list, as a picture, and as they change.
//!
//! | module | what it holds |
//! |---|---|
//! | `organiser` | who may make events |
//! | `venues`, `import` | venues; their seats from CSV or JSON (pure) |
//! | `manage`, `draft` | making, changing, publishing, postponing; what an event must be, and the states it goes through (pure) |
//! | `pricing` | tiers, fees, taxes, and what an order costs (pure) |
//! | `house` | seats that the organiser keeps |
//! | `outbox` | `event.created`, `event.updated`, `seats.released` |
//! | `routes`, `live` | what buyers see |
//! | `offers`, `best` | the best seats that can be had (pure), and what seats cost together |
//! | `picture` | the seats as SVG |

pub mod best;
pub mod draft;
pub mod house;
pub mod import;
pub mod live;
pub mod manage;
pub mod offers;
pub mod organiser;
pub mod outbox;
pub mod picture;
pub mod pricing;
pub mod routes;
pub mod venues;

pub mod store;
