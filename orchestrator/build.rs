//! `sqlx::migrate!` puts the migrations into the program, and Cargo notices a new file among them only if told to.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
