// Package policy defines the meaning of a policy: how a batch is expanded, how objects are named, which namespaces are
// allowed to use what, and which mistakes a set of objects has. It is pure: its functions take values and return
// values. The controllers, the command line and PolicySync share it. Invariant: what a pull request shows is what the
// cluster does.
package policy
