//! Apache Kafka as a child process, for tests and benchmarks.
