// Package volumesnapshot knows what a VolumeSnapshot of Cairn is called, looks like and says: which class it takes, how far it is,
// whether it is ours, and what a volume that is made of it needs. It is pure: objects come in and go out as values, and nothing here
// talks to an API server. The kinds are those of snapshot.storage.k8s.io/v1, which a cluster need not have.
package volumesnapshot
