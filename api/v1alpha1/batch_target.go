package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MaxBatchTargets is how many targets a batch has at most, those that its selectors find counted.
const MaxBatchTargets = 1000

// MaxSessionTargets is how many of them a session has at most: a run is one object with what it does for each of them, which
// must fit into etcd.
const MaxSessionTargets = 500

// DefaultMaxTargets is how many objects a selector finds at most that says nothing else.
const DefaultMaxTargets = 100

// BatchTarget is a named target of a BackupBatch: one object, or all that a selector finds.
// +kubebuilder:validation:XValidation:rule="has(self.appRef) != has(self.selector)",message="a target has either an appRef, which names one object, or a selector, which finds some"
type BatchTarget struct {
	// Name that spec.sessions[*].targets[*].name refers to.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// AppRef is a PersistentVolumeClaim, Deployment, StatefulSet or DaemonSet of this namespace, or a database: its Service, or a
	// Secret of a type servicebinding.io/..., an AppBinding or a Cluster of CloudNativePG that tells of it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.kind) && (self.kind in ['PersistentVolumeClaim', 'Service', 'Secret'] && (!has(self.apiGroup) || size(self.apiGroup) == 0) || self.kind in ['Deployment', 'StatefulSet', 'DaemonSet'] && has(self.apiGroup) && self.apiGroup == 'apps' || self.kind == 'AppBinding' && has(self.apiGroup) && self.apiGroup == 'appcatalog.appscode.com' || self.kind == 'Cluster' && has(self.apiGroup) && self.apiGroup == 'postgresql.cnpg.io')",message="the target is a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Of a Pod, ReplicaSet or Job name the workload or the volume that it belongs to"
	AppRef TypedObjectReference `json:"appRef,omitzero"`

	// Selector finds objects of this namespace by kind and labels. Each is a target of its own, with the name
	// <name>-<kind>-<object>, in lower case. One that appears later gets its BackupConfiguration within seconds; that of one that
	// goes is removed, and its Repositories and data stay. Left out are objects that are being deleted and claims that go with a
	// pod. Where no session names an Addon for the target, left out are also a PersistentVolumeClaim that a workload mounts
	// which the same selector finds, because the backup of the workload holds it, and a workload whose pods have no volumes but
	// emptyDir, configMap, secret, downwardAPI, projected and image. What other targets stand for is not left out: it is backed up for
	// each, and the condition TargetsOverlap says so where one session does.
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
	// Kinds of the objects. A Service stands for the database behind it, and takes an Addon that the session names.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Kinds []TargetKind `json:"kinds"`

	// LabelSelector on the labels of the objects. Without it all objects of these kinds are found.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// Exclude says which of these are left out.
	// +optional
	Exclude *TargetExclusion `json:"exclude,omitempty"`

	// MaxTargets is how many objects may be found. When there are more, no target of the batch is added or removed until there
	// are fewer or this number is raised.
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxTargets int32 `json:"maxTargets,omitempty"`
}

// TargetExclusion is what a selector leaves out: what has these labels, and what is named.
type TargetExclusion struct {
	// LabelSelector on the labels of the objects. It must not be empty, which would leave out all.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// Names of objects.
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
