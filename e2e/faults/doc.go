// Package faults holds the scenarios in which Cairn's own processes are killed: real programs as subprocesses, a real
// API server and real Git, and between them proxies that stop a request at an exact point. No cluster is needed: where
// a Job has to run, the test plays the kubelet. "make e2e" runs them.
package faults
