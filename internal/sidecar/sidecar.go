// Package sidecar defines what a sidecar, the manager that looks after it and the mover that runs in it share: names,
// the content of the sidecar's Secret, the paths in its container, and its work orders. It is pure. Invariants: two
// workloads never share a sidecar's name, and no annotation of ours holds a credential.
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

// Paths in the container.
const (
	// SecretDir holds a file for each key of the sidecar's Secret.
	SecretDir = "/cairn/sidecar"
	// VolumesDir holds a read-only directory for each volume of the pod that is backed up.
	VolumesDir = task.VolumesDir
	// RestoreDir holds a writable directory for each volume of the pod that can be restored.
	RestoreDir = "/cairn/restore"
	// workDir is writable. It is lost with the pod.
	workDir = task.WorkDir
)

// Environment variables of the container that come from its pod. The arguments have the rest.
const (
	envPodName      = "POD_NAME"
	EnvPodUID       = "POD_UID"
	EnvPodNamespace = "POD_NAMESPACE"
)

// Subcommand is the command of the mover that a sidecar runs. Its only argument is --id, the name of the sidecar.
const Subcommand = "sidecar"

// Name returns the name of a workload's sidecar, which is also the name of its Secret and the value of
// v1alpha1.LabelSidecar. It has at most 63 characters, and two workloads of a namespace never share one.
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

// RepositoryKeys is the prefix of the keys that belong to a Repository: 10 hexadecimal digits.
type RepositoryKeys string

// KeysOf returns the key prefix of a Repository.
func KeysOf(namespace, repository string) RepositoryKeys {
	sum := sha256.Sum256([]byte(namespace + "/" + repository))
	return RepositoryKeys(hex.EncodeToString(sum[:5]))
}

// Storage returns the key of the sidecar's Secret that holds a key of the storage's Secret.
func (k RepositoryKeys) Storage(key string) string { return string(k) + storageKeys + key }

// Encryption returns the key of the sidecar's Secret that holds a key of the encryption Secret.
func (k RepositoryKeys) Encryption(key string) string { return string(k) + encryptionKeys + key }

// Version returns the key that holds the version of the repository's keys, which access.Digest returns. A sidecar that
// finds another version than its work needs waits for a while: the kubelet updates files late.
func (k RepositoryKeys) Version() string { return string(k) + ".version" }

// Place returns the key that holds the storage which the keys are for, as EncodePlace returned it.
func (k RepositoryKeys) Place() string { return string(k) + ".place" }

// Of reports whether a key of a Secret belongs to the Repository.
func (k RepositoryKeys) Of(key string) bool { return strings.HasPrefix(key, string(k)+".") }

const (
	storageKeys    = ".storage."
	encryptionKeys = ".encryption."
)
