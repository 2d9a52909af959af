package ledger

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// document is one object of a record. It is a type of its own instead of the API's, so that owners, finalizers and
// the like can't get into a record.
type document struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       any      `json:"spec"`
	Status     any      `json:"status"`
}

type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations"`
}

// recordedLabels are the labels that a record keeps. The labels of a PolicySync are not among them: a record that
// somebody applies must not look like policy.
var recordedLabels = []string{
	v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelSession, v1alpha1.LabelConfiguration,
	v1alpha1.LabelRestorePoint, v1alpha1.LabelRestorePointUID, v1alpha1.LabelRestoreBatch,
}

func newDocument(cluster, kind string, o *metav1.ObjectMeta, spec, status any) document {
	labels := map[string]string{}
	for _, l := range recordedLabels {
		if v, ok := o.Labels[l]; ok {
			labels[l] = v
		}
	}
	return document{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind,
		Metadata: metadata{
			Name: o.Name, Namespace: o.Namespace, Labels: labels,
			Annotations: map[string]string{
				v1alpha1.AnnotationRecord: cluster, v1alpha1.AnnotationRecordUID: string(o.UID),
			},
		},
		Spec: spec, Status: status,
	}
}

func sortedSnapshots(in []v1alpha1.Snapshot) []*v1alpha1.Snapshot {
	out := make([]*v1alpha1.Snapshot, len(in))
	for i := range in {
		out[i] = &in[i]
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Snapshot) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Cluster is the content of ClusterFile.
type Cluster struct {
	// Name of the cluster's folder.
	Name string `json:"name"`
	// UID is the UID of the cluster that owns the folder: that of its namespace kube-system.
	UID types.UID `json:"uid"`
}

// Bytes returns the content of the file.
func (c Cluster) Bytes() ([]byte, error) { return yaml.Marshal(c) }

// ParseCluster parses the content of the file.
func ParseCluster(raw []byte) (Cluster, error) {
	var c Cluster
	return c, yaml.UnmarshalStrict(raw, &c)
}
