//! Venues and their seats.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::events::import::Layout;

/// A venue.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Venue {
    pub id: Uuid,
    pub name: String,
    pub city: String,
    pub time_zone: String,
    pub stage_x: f32,
    pub stage_y: f32,
    pub seats: i32,
}

/// Makes a venue, without seats.
pub async fn insert(pool: &PgPool, organisation: Uuid, venue: &Venue) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ticketing.venues (id, organisation_id, name, city, time_zone, stage_x, stage_y)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(venue.id)
    .bind(organisation)
    .bind(&venue.name)
    .bind(&venue.city)
    .bind(&venue.time_zone)
    .bind(venue.stage_x)
    .bind(venue.stage_y)
    .execute(pool)
    .await?;
    Ok(())
}

/// An organisation's venues after the one with the id `after`.
pub async fn list(
    pool: &PgPool,
    organisation: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Venue>, sqlx::Error> {
    sqlx::query_as(
        "select id, name, city, time_zone, stage_x, stage_y, seats
         from ticketing.venues
         where organisation_id = $1 and id > $2
         order by id
         limit $3",
    )
    .bind(organisation)
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// One of an organisation's venues.
pub async fn get(db: impl PgExecutor<'_>, organisation: Uuid, id: Uuid) -> Result<Option<Venue>, sqlx::Error> {
    sqlx::query_as(
        "select id, name, city, time_zone, stage_x, stage_y, seats
         from ticketing.venues
         where id = $2 and organisation_id = $1",
    )
    .bind(organisation)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Gives one of an organisation's venues these seats in place of those that it has; none: it has no such venue.
pub async fn replace_seats(
    pool: &PgPool,
    organisation: Uuid,
    id: Uuid,
    layout: &Layout,
) -> Result<Option<Venue>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let venue: Option<Venue> = sqlx::query_as(
        "update ticketing.venues set seats = $3, updated_at = now()
         where id = $2 and organisation_id = $1
         returning id, name, city, time_zone, stage_x, stage_y, seats",
    )
    .bind(organisation)
    .bind(id)
    // The import has limited it.
    .bind(i32::try_from(layout.len()).unwrap_or(i32::MAX))
    .fetch_optional(&mut *transaction)
    .await?;
    if venue.is_some() {
        sqlx::query("delete from ticketing.venue_seats where venue_id = $1")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        insert_seats(&mut *transaction, id, layout).await?;
        transaction.commit().await?;
    }
    Ok(venue)
}

/// One statement for all of them.
async fn insert_seats(db: impl PgExecutor<'_>, id: Uuid, layout: &Layout) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ticketing.venue_seats (venue_id, seat_id, section, row_name, number, x, y, marks)
         select $1, s.seat_id, s.section, s.row_name, s.number, s.x, s.y, string_to_array(s.marks, ' ')
         from unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::real[], $7::real[], $8::text[])
              as s (seat_id, section, row_name, number, x, y, marks)",
    )
    .bind(id)
    .bind(&layout.seat_ids)
    .bind(&layout.sections)
    .bind(&layout.rows)
    .bind(&layout.numbers)
    .bind(&layout.xs)
    .bind(&layout.ys)
    .bind(&layout.marks)
    .execute(db)
    .await?;
    Ok(())
}

/// All seats of a venue, by section, row and number.
pub async fn seats(db: impl PgExecutor<'_>, id: Uuid) -> Result<Layout, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        seat_id: String,
        section: String,
        row_name: String,
        number: i32,
        x: Option<f32>,
        y: Option<f32>,
        marks: Option<String>,
    }

    let rows: Vec<Row> = sqlx::query_as(
        "select seat_id, section, row_name, number, x, y, array_to_string(marks, ' ') as marks
         from ticketing.venue_seats
         where venue_id = $1
         order by section, row_name, number",
    )
    .bind(id)
    .fetch_all(db)
    .await?;
    let mut layout = Layout::default();
    for row in rows {
        layout.seat_ids.push(row.seat_id);
        layout.sections.push(row.section);
        layout.rows.push(row.row_name);
        layout.numbers.push(row.number);
        layout.xs.push(row.x);
        layout.ys.push(row.y);
        layout.marks.push(row.marks);
    }
    Ok(layout)
}
