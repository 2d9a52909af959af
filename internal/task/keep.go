package task

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// KindKeep removes data from repositories and maintains them.
const KindKeep Kind = "keep"

// keepTimeout bounds a keeper: garbage collection in a big repository takes long.
const keepTimeout = 6 * time.Hour

// Maintenance is a kind of maintenance.
type Maintenance string

// The values of Maintenance; empty means none.
const (
	MaintainQuick Maintenance = "quick"
	MaintainFull  Maintenance = "full"
)

// Keep is the work of a keeper in one repository. The Result has a component for each Keep, named by its index.
type Keep struct {
	Repository Repository `json:"repository"`
	// Remove lists the Snapshots to remove.
	Remove []Removed `json:"remove,omitempty"`
	// Wipe removes the whole directory. Nothing else happens then.
	Wipe bool `json:"wipe,omitempty"`
	// Maintain names the maintenance that follows.
	Maintain Maintenance `json:"maintain,omitempty"`
	// Check lists components of Snapshots to check after that. The Result reports in Verified how many of them were
	// checked, counted from the first, and in Damaged the indices of those that are damaged or missing.
	Check []Checked `json:"check,omitempty"`
}

// Checked is a component of a Snapshot. The keeper checks whether the repository has all of its data.
type Checked struct {
	Snapshot  string    `json:"snapshot"`
	UID       types.UID `json:"uid"`
	Component string    `json:"component"`
	ID        string    `json:"id"`
}

// Removed is a Snapshot whose data the keeper removes.
type Removed struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// IDs of its data in the repository, as far as they are known. The keeper also removes data tagged with the UID.
	IDs []string `json:"ids,omitempty"`
}

// checkKeep reports what a keeper's task lacks.
func (t Task) checkKeep() error {
	if len(t.Keep) == 0 {
		return errors.New("no repositories")
	}
	for i, k := range t.Keep {
		if k.Repository.Directory == "" || k.Repository.UID == "" {
			return fmt.Errorf("repository %d has no directory or UID", i)
		}
		for _, s := range k.Remove {
			if s.Name == "" || s.UID == "" {
				return fmt.Errorf("a Snapshot of repository %d has no name or UID", i)
			}
		}
		for _, c := range k.Check {
			if c.Snapshot == "" || c.UID == "" || c.Component == "" || c.ID == "" {
				return fmt.Errorf("a component to check in repository %d has no Snapshot, UID, name or ID", i)
			}
		}
	}
	return nil
}

// KeepJobInput is the input for a keeper's Job.
type KeepJobInput struct {
	// Owner of the Job: the Lease that lets only one keeper work at a time.
	Owner metav1.OwnerReference
	// Name and Namespace of the Job.
	Name, Namespace string
	// Label is the value of v1alpha1.LabelKeeper.
	Label string
	// Storage that holds all the repositories.
	Storage *v1alpha1.BackupStorage
	// StorageSecret that the keeper reads, in the Job's namespace; empty for a local storage.
	StorageSecret string
	// Work to do.
	Work []KeepWork
	// Image of the mover.
	Image string
	// Privileged reports whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
}

// KeepWork is the work in one repository.
type KeepWork struct {
	Repository *v1alpha1.Repository
	// EncryptionSecret with its password, in the Job's namespace; empty if the directory is wiped.
	EncryptionSecret string
	Remove           []Removed
	Wipe             bool
	Maintain         Maintenance
	Check            []Checked
}

// KeepJob builds the Job of a keeper.
func KeepJob(in KeepJobInput) (*batchv1.Job, error) {
	t := Task{Kind: KindKeep, Cluster: in.ClusterUID, Namespace: in.Namespace, Storage: storageOf(in.Storage)}
	passwords := make([]string, len(in.Work))
	for i, w := range in.Work {
		k := Keep{Repository: repositoryOf(w.Repository), Remove: w.Remove, Wipe: w.Wipe, Maintain: w.Maintain,
			Check: w.Check}
		if w.EncryptionSecret != "" {
			k.Repository.Encryption = strconv.Itoa(i)
		}
		passwords[i] = w.EncryptionSecret
		t.Keep = append(t.Keep, k)
	}
	return blueprint{
		name:         in.Name,
		namespace:    in.Namespace,
		owner:        in.Owner,
		resolved:     initTask(in.Image, KindKeep, in.Storage),
		credentials:  Credentials{StorageSecret: in.StorageSecret},
		passwords:    passwords,
		timeout:      keepTimeout,
		security:     securityOf(v1alpha1.MoverSecurityContext{}, podOf(in.Storage.Spec.RuntimeSettings)),
		privileged:   in.Privileged,
		node:         nodeOf(in.Storage.Spec.RuntimeSettings),
		storageGroup: true,
		labels:       map[string]string{v1alpha1.LabelKeeper: in.Label},
		task:         t,
	}.job()
}

// passwordDir returns the directory with the password of a keeper's repository.
func passwordDir(index int) string { return path.Join(EncryptionDir, strconv.Itoa(index)) }
