package moverjob

import (
	"path"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/task"
)

// keepMargin is how much later than its keeper a Job ends. The time of the Job begins before that of the keeper: its
// pod can wait for a node, a volume and an image. A keeper that its Job ends can't report what it has done.
const keepMargin = 30 * time.Minute

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
	// Time is when the work was decided, by the manager's clock.
	Time *metav1.Time
	// Image of the mover.
	Image string
	// Privileged reports whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules
}

// KeepWork is the work in one repository.
type KeepWork struct {
	Repository *v1alpha1.Repository
	// EncryptionSecret with its password, in the Job's namespace; empty if the directory is wiped.
	EncryptionSecret string
	Remove           []task.Removed
	Wipe             bool
	Maintain         task.Maintenance
	Check            []task.Checked
	Witnesses        []task.Witness
	Scan             string
}

// KeepJob builds the Job of a keeper.
func KeepJob(in KeepJobInput) (*batchv1.Job, error) {
	t := task.Task{
		Kind: task.KindKeep, Cluster: in.ClusterUID, Namespace: in.Namespace, Storage: StorageOf(in.Storage),
		Time: in.Time, Egress: in.Egress,
	}
	passwords := make([]string, len(in.Work))
	for i, w := range in.Work {
		k := task.Keep{
			Repository: repositoryOf(w.Repository), Remove: w.Remove, Wipe: w.Wipe, Maintain: w.Maintain,
			Check: w.Check, Witnesses: w.Witnesses, Scan: w.Scan,
		}
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
		resolved:     initTask(in.Image, task.KindKeep, in.Storage),
		credentials:  Credentials{StorageSecret: in.StorageSecret},
		passwords:    passwords,
		timeout:      task.KeepTimeout + keepMargin,
		security:     securityOf(v1alpha1.MoverSecurityContext{}, podOf(in.Storage.Spec.RuntimeSettings)),
		privileged:   in.Privileged,
		node:         nodeOf(in.Storage.Spec.RuntimeSettings),
		storageGroup: true,
		labels:       map[string]string{v1alpha1.LabelKeeper: in.Label},
		task:         t,
	}.job()
}

// passwordDir returns the directory with the password of a keeper's repository.
func passwordDir(index int) string { return path.Join(task.EncryptionDir, strconv.Itoa(index)) }
