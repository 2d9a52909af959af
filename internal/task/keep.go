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

// keepTimeout bounds a keeper: collecting the garbage of a big repository takes long.
const keepTimeout = 6 * time.Hour

// Maintenance is a sort of maintenance.
type Maintenance string

// The values of Maintenance; none is empty.
const (
	MaintainQuick Maintenance = "quick"
	MaintainFull  Maintenance = "full"
)

// Keep is what a keeper is to do in one repository. The Result has a component for each, named by its index.
type Keep struct {
	Repository Repository `json:"repository"`
	// Remove these Snapshots.
	Remove []Removed `json:"remove,omitempty"`
	// Wipe removes the whole directory. Nothing else is done then.
	Wipe bool `json:"wipe,omitempty"`
	// Maintain the repository after that.
	Maintain Maintenance `json:"maintain,omitempty"`
	// Check these components of Snapshots after that. The Result has in Verified of how many, in this order, something is known,
	// and in Damaged the indices of those among them that are damaged or missing.
	Check []Checked `json:"check,omitempty"`
}

// Checked is a component of a Snapshot of which is to be found out whether all that it needs is there.
type Checked struct {
	Snapshot  string    `json:"snapshot"`
	UID       types.UID `json:"uid"`
	Component string    `json:"component"`
	ID        string    `json:"id"`
}

// Removed is a Snapshot whose data is to go.
type Removed struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// IDs of its data in the repository, as far as they are known. What carries the UID as a tag goes as well.
	IDs []string `json:"ids,omitempty"`
}

// checkKeep says what is missing of a keeper's task.
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
				return fmt.Errorf("a snapshot of repository %d has no name or UID", i)
			}
		}
		for _, c := range k.Check {
			if c.Snapshot == "" || c.UID == "" || c.Component == "" || c.ID == "" {
				return fmt.Errorf("a component that is to be checked in repository %d has no snapshot, UID, name or ID", i)
			}
		}
	}
	return nil
}

// KeepJobInput is everything that a keeper's Job is built from.
type KeepJobInput struct {
	// Owner of the Job: the Lease that lets one keeper work at a time.
	Owner metav1.OwnerReference
	// Name and Namespace of the Job.
	Name, Namespace string
	// Label is the value of v1alpha1.LabelKeeper.
	Label string
	// Storage that all repositories lie in.
	Storage *v1alpha1.BackupStorage
	// StorageSecret that the keeper reads, in the Job's namespace. Empty for a local storage.
	StorageSecret string
	// Work to do.
	Work []KeepWork
	// Image of the mover.
	Image string
	// Privileged says whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
}

// KeepWork is what is to be done in one repository.
type KeepWork struct {
	Repository *v1alpha1.Repository
	// EncryptionSecret with its password, in the Job's namespace. Empty where the directory is wiped.
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
		k := Keep{Repository: repositoryOf(w.Repository), Remove: w.Remove, Wipe: w.Wipe, Maintain: w.Maintain, Check: w.Check}
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

// passwordDir is where the password of a keeper's repository lies.
func passwordDir(index int) string { return path.Join(EncryptionDir, strconv.Itoa(index)) }
