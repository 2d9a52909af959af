package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of every Cairn kind.
const Group = "backup.cairn.dev"

// GroupVersion is the group and version of the kinds in this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: "v1alpha1"}

// AddToScheme registers the kinds of this package.
var AddToScheme = (&runtime.SchemeBuilder{register}).AddToScheme

func register(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Addon{}, &AddonList{},
		&BackupBatch{}, &BackupBatchList{},
		&BackupConfiguration{}, &BackupConfigurationList{},
		&BackupSession{}, &BackupSessionList{},
		&BackupStorage{}, &BackupStorageList{},
		&Function{}, &FunctionList{},
		&HookTemplate{}, &HookTemplateList{},
		&Ledger{}, &LedgerList{},
		&PolicySync{}, &PolicySyncList{},
		&Repository{}, &RepositoryList{},
		&RestoreBatch{}, &RestoreBatchList{},
		&RestoreSession{}, &RestoreSessionList{},
		&RetentionPolicy{}, &RetentionPolicyList{},
		&Snapshot{}, &SnapshotList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// The kinds of this package, as in an object's kind field.
const (
	AddonKind               = "Addon"
	BackupBatchKind         = "BackupBatch"
	BackupConfigurationKind = "BackupConfiguration"
	BackupSessionKind       = "BackupSession"
	BackupStorageKind       = "BackupStorage"
	FunctionKind            = "Function"
	HookTemplateKind        = "HookTemplate"
	LedgerKind              = "Ledger"
	PolicySyncKind          = "PolicySync"
	RepositoryKind          = "Repository"
	RestoreBatchKind        = "RestoreBatch"
	RestoreSessionKind      = "RestoreSession"
	RetentionPolicyKind     = "RetentionPolicy"
	SnapshotKind            = "Snapshot"
)
