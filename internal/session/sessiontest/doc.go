// Package sessiontest plays, for tests of session controllers against an API server, what a cluster does beside it: the
// Job controller and kubelet, the garbage collector, and a manager that is killed at any write.
package sessiontest
