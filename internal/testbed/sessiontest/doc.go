// Package sessiontest makes small worlds for tests of session controllers against an API server: a namespace with a
// policy, the fake cluster around it, and a manager that is killed at any write.
//
// A World belongs to one test and must be used by one goroutine. Tests that share an API server can run in parallel,
// because each World has its own namespaces.
package sessiontest
