// Package sessiontest simulates a cluster for tests of session controllers against an API server: the Job controller
// and kubelet, the garbage collector, a CSI driver, and a manager that is killed at any write.
//
// A World belongs to one test and must be used by one goroutine. Tests that share a Bed can run in parallel, because
// each World has its own namespaces.
package sessiontest
