package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MaxBatchTargets is the maximum number of targets of a batch, including those that its selectors find.
const MaxBatchTargets = 1000

// MaxSessionTargets is the maximum number of targets of a session. A run is one object with a status for each of its
// targets, and it must fit into etcd.
const MaxSessionTargets = 500

// DefaultMaxTargets is the default of TargetSelector.MaxTargets.
const DefaultMaxTargets = 100

// BatchTarget is a named target of a BackupBatch: one object, or all objects that a selector finds.
// +kubebuilder:validation:XValidation:rule="has(self.appRef) != has(self.selector)",message="a target has either an appRef, which names one object, or a selector, which finds objects"
type BatchTarget struct {
	// Name that spec.sessions[*].targets[*].name refers to.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// AppRef is a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace, or a database. A
	// database is named by its Service, or by a Secret of a type servicebinding.io/..., an AppBinding or a Cluster of
	// CloudNativePG that describes it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target must be a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Instead of a Pod, ReplicaSet or Job, name the workload or volume that it belongs to"
	AppRef TypedObjectReference `json:"appRef,omitzero"`

	// Selector finds objects of this namespace by kind and labels. Each object is a target named
	// <name>-<kind>-<object>, in lower case. A new object gets its BackupConfiguration within seconds. When an object
	// goes, its BackupConfiguration is removed; its Repositories and data stay. Objects that are being deleted and
	// claims that go with a pod are left out. If no session names an Addon for the target, two more sorts are left out:
	// a PersistentVolumeClaim mounted by a workload that the same selector finds, because the backup of the workload
	// contains it; and a workload whose pods only have volumes of the types emptyDir, configMap, secret, downwardAPI,
	// projected and image. Objects that other targets cover are not left out: they are backed up for each. If that
	// happens in one session, the condition TargetsOverlap reports it.
	// +optional
	Selector *TargetSelector `json:"selector,omitempty"`
}

// TargetKind is a kind of object that a selector can find.
// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;PersistentVolumeClaim;Service
type TargetKind string

// TargetKinds are all kinds that a selector can find.
var TargetKinds = []TargetKind{KindDeployment, KindStatefulSet, KindDaemonSet, KindPersistentVolumeClaim, KindService}

// TargetSelector finds the targets of a batch.
type TargetSelector struct {
	// Kinds of the objects. A Service stands for the database behind it, and needs an Addon that the session names.
	// A PersistentVolumeClaim in which a BackupStorage of the batch keeps backups is not found.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Kinds []TargetKind `json:"kinds"`

	// LabelSelector on the labels of the objects. Without it, all objects of these kinds are found.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// Exclude leaves out some of these objects.
	// +optional
	Exclude *TargetExclusion `json:"exclude,omitempty"`

	// MaxTargets is how many objects the selector is allowed to find. If it finds more, no target of the batch is added
	// or removed until there are fewer or this number is raised.
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxTargets int32 `json:"maxTargets,omitempty"`
}

// TargetExclusion leaves out objects with certain labels and objects that it names.
type TargetExclusion struct {
	// LabelSelector on the labels of the objects. It must not be empty: that would leave out all objects.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// Names of objects to leave out.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Names []ExcludedTarget `json:"names,omitempty"`
}

// ExcludedTarget is an object that a selector leaves out.
type ExcludedTarget struct {
	// Kind of the object.
	// +required
	Kind TargetKind `json:"kind"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Group is the API group of the kind.
func (k TargetKind) Group() string {
	if k == KindPersistentVolumeClaim || k == KindService {
		return ""
	}
	return "apps"
}
