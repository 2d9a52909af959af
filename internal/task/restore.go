package task

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Restore describes how a restore treats the present content of its volumes.
type Restore struct {
	// Overwrite allows writing into a volume that is not empty, and decides what happens to an existing file. If it is
	// empty, the volume must be empty.
	Overwrite v1alpha1.OverwritePolicy `json:"overwrite,omitempty"`
	// DeleteExtra deletes what is in the volume but not in the Snapshot.
	DeleteExtra bool `json:"deleteExtra,omitempty"`
	// Verify reads the written data back and compares it with the repository.
	Verify bool `json:"verify,omitempty"`
	// Group reports that the kubelet gave the volumes to the mover's group when it mounted them.
	Group bool `json:"group,omitempty"`
	// Again reports that an earlier attempt of this restore can have written into the volumes.
	Again bool `json:"again,omitempty"`
	// EncryptionSecret is <namespace>/<name> of the Secret that the RestoreSession itself names. It is empty if the
	// password comes from the Repository's own Secret.
	EncryptionSecret string `json:"encryptionSecret,omitempty"`
}
