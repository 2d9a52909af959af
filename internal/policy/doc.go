// Package policy holds what a policy means, as pure functions: how a batch is expanded, how objects are named, who may use
// what, and which mistakes a set of objects has. The controllers, the command line and PolicySync share them, so that what
// a pull request shows is what the cluster does.
package policy
