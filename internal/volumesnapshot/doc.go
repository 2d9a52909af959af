// Package volumesnapshot defines the VolumeSnapshots that Cairn makes: their names, classes and states, whether they
// are Cairn's, and what a volume made from one needs. It is pure: objects come in and go out as values, and nothing
// here talks to an API server. The kinds are those of snapshot.storage.k8s.io/v1, which a cluster can lack.
package volumesnapshot
