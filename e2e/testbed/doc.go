// Package testbed puts Cairn, a Git server and an S3 server into a real cluster, for the demo, the end-to-end tests and
// for trying things by hand.
//
// The cluster comes from a Provider: kind where a Docker daemon answers, the single-node cluster of hack/cluster
// elsewhere, or one that exists already and was named on purpose. Everything else is the same for all of them: the
// servers run as pods, and this process reaches them, as the pods do, over the network.
package testbed
