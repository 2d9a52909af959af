// Package sidecar says what a sidecar, the manager that looks after it and the mover that runs in it have in common: names,
// what is in its Secret, where things lie in its container, and how it is told what to do. It is pure: it reads nothing and
// writes nothing.
package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// Container is the name of the container that is added to a workload.
const Container = "cairn"

// Where things lie in the container.
const (
	// SecretDir holds a file for each key of the sidecar's Secret.
	SecretDir = "/cairn/sidecar"
	// VolumesDir holds a directory for each volume of the pod that is backed up. They can't be written to.
	VolumesDir = task.VolumesDir
	// RestoreDir holds a directory for each volume of the pod that may be restored to.
	RestoreDir = "/cairn/restore"
	// WorkDir can be written to. It is lost with the pod.
	WorkDir = task.WorkDir
)

// Environment variables of the container, from its pod. Its arguments say the rest.
const (
	EnvPodName      = "POD_NAME"
	EnvPodUID       = "POD_UID"
	EnvPodNamespace = "POD_NAMESPACE"
)

// Subcommand of the mover that a sidecar runs. Its only argument is --id, the name of the sidecar.
const Subcommand = "sidecar"

// Name identifies the sidecar of a workload: it is the name of its Secret and the value of v1alpha1.LabelSidecar. It has at
// most 63 characters, and two workloads of a namespace never share one.
func Name(kind, name string) string {
	return policy.LabelValue("cairn-sidecar-" + strings.ToLower(kind) + "-" + name)
}

// Keys of a sidecar's Secret that belong to no repository.
const (
	// KeyToken is the token for the API server.
	KeyToken = "token"
	// KeyCA is the certificate authority of the API server, as PEM.
	KeyCA = "ca.crt"
)

// RepositoryKeys is the beginning of the keys that belong to a Repository of a namespace: 10 hexadecimal digits.
type RepositoryKeys string

// KeysOf gives the beginning of the keys of a Repository.
func KeysOf(namespace, repository string) RepositoryKeys {
	sum := sha256.Sum256([]byte(namespace + "/" + repository))
	return RepositoryKeys(hex.EncodeToString(sum[:5]))
}

// Storage is the key under which a key of the storage's Secret is kept.
func (k RepositoryKeys) Storage(key string) string { return string(k) + storageKeys + key }

// Encryption is the key under which a key of the encryption Secret is kept.
func (k RepositoryKeys) Encryption(key string) string { return string(k) + encryptionKeys + key }

// Version is the key under which the version of the repository's keys is kept, which access.Digest gives. A sidecar that is to
// work with another version than it finds waits for a while: the kubelet brings changes late.
func (k RepositoryKeys) Version() string { return string(k) + ".version" }

// Of says whether a key of a Secret belongs to the Repository.
func (k RepositoryKeys) Of(key string) bool { return strings.HasPrefix(key, string(k)+".") }

const (
	storageKeys    = ".storage."
	encryptionKeys = ".encryption."
)
