package doctor

import (
	"context"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/doctor"
	"github.com/cairn-backup/cairn/internal/version"
)

// gather reads what doctor.Judge needs. It reads no Secret.
func gather(ctx context.Context, api client.Reader, manager types.NamespacedName) (*doctor.State, error) {
	r := &reader{api: api, unread: map[string]string{}}
	s := &doctor.State{
		Version: version.Version, Manager: manager, Unread: r.unread, Uses: map[doctor.Use]int{},
		RestoreTo: map[string]string{}, Policies: map[string]int{}, Guarded: map[string]bool{},
	}
	r.deployments(ctx, s)
	r.kinds(ctx, s)
	if s.Deployment == nil || r.err != nil {
		return s, r.err // nothing else can be judged
	}
	flags, err := doctor.FlagsOf(s.Deployment)
	if err != nil {
		return s, nil //nolint:nilerr // it is a finding
	}
	r.rules(ctx, s)
	r.roles(ctx, s, flags.Administrators)
	r.namespaces(ctx, s)
	r.policy(ctx, s)
	r.repositories(ctx, s)
	r.apiServer(ctx, s)
	return s, r.err
}

// deployments reads the Deployment of the manager, and finds others that look like one.
func (r *reader) deployments(ctx context.Context, s *doctor.State) {
	d := &appsv1.Deployment{}
	if r.get(ctx, "deployments", s.Manager, d) {
		s.Deployment = d
	}
	metadata(ctx, r, "deployments of other namespaces", appsv1.SchemeGroupVersion.WithKind("Deployment"),
		func(o *metav1.PartialObjectMetadata) {
			if key := client.ObjectKeyFromObject(o); key != s.Manager {
				s.Others = append(s.Others, key.String())
			}
		}, client.MatchingLabels{"app.kubernetes.io/name": "cairn-manager"})
}

// kinds reads the CRDs of Cairn, and no others, which are large.
func (r *reader) kinds(ctx context.Context, s *doctor.State) {
	const resource = "customresourcedefinitions"
	var names []string
	metadata(ctx, r, resource, apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
		func(o *metav1.PartialObjectMetadata) {
			if strings.HasSuffix(o.Name, "."+v1alpha1.Group) {
				names = append(names, o.Name)
			}
		})
	for _, name := range names {
		var crd apiextensionsv1.CustomResourceDefinition
		if r.get(ctx, resource, client.ObjectKey{Name: name}, &crd) {
			s.CRDs = append(s.CRDs, crd)
		}
	}
}

// rules reads the admission policies, and the NetworkPolicies. It keeps those of the manager's namespace.
func (r *reader) rules(ctx context.Context, s *doctor.State) {
	pages(ctx, r, "validatingadmissionpolicies", func(page *admissionv1.ValidatingAdmissionPolicyList) {
		s.AdmissionPolicies = append(s.AdmissionPolicies, page.Items...)
	})
	pages(ctx, r, "validatingadmissionpolicybindings", func(page *admissionv1.ValidatingAdmissionPolicyBindingList) {
		s.AdmissionBindings = append(s.AdmissionBindings, page.Items...)
	})
	pages(ctx, r, "networkpolicies", func(page *networkingv1.NetworkPolicyList) {
		for i := range page.Items {
			p := &page.Items[i]
			if p.Namespace == s.Manager.Namespace {
				s.NetworkPolicies = append(s.NetworkPolicies, *p)
			}
			if doctor.Guards(p) {
				s.Guarded[p.Namespace] = true
			}
		}
	})
}

// namespaces reads what Namespaces say about Cairn, and which have an account for policy.
func (r *reader) namespaces(ctx context.Context, s *doctor.State) {
	metadata(ctx, r, "namespaces", corev1.SchemeGroupVersion.WithKind("Namespace"),
		func(o *metav1.PartialObjectMetadata) {
			s.Namespaces = append(s.Namespaces,
				doctor.Namespace{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations})
		})
	metadata(ctx, r, "serviceaccounts", corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		func(o *metav1.PartialObjectMetadata) { s.PolicyAccounts = append(s.PolicyAccounts, o.Namespace) },
		client.MatchingFields{"metadata.name": v1alpha1.PolicyServiceAccount})
}

// policy reads policy. Of BackupConfigurations and BackupBatches, which can be very many, only their number counts.
func (r *reader) policy(ctx context.Context, s *doctor.State) {
	pages(ctx, r, "policysyncs", func(page *v1alpha1.PolicySyncList) {
		s.PolicySyncs = append(s.PolicySyncs, page.Items...)
	})
	pages(ctx, r, "ledgers", func(page *v1alpha1.LedgerList) { s.Ledgers = append(s.Ledgers, page.Items...) })
	pages(ctx, r, "backupstorages", func(page *v1alpha1.BackupStorageList) {
		s.Storages = append(s.Storages, page.Items...)
	})
	pages(ctx, r, "retentionpolicies", func(page *v1alpha1.RetentionPolicyList) {
		s.RetentionPolicies = append(s.RetentionPolicies, page.Items...)
	})
	pages(ctx, r, "hooktemplates", func(page *v1alpha1.HookTemplateList) {
		s.HookTemplates = append(s.HookTemplates, page.Items...)
	})
	pages(ctx, r, "functions", func(page *v1alpha1.FunctionList) { s.Functions = append(s.Functions, page.Items...) })
	for resource, kind := range map[string]string{
		"backupconfigurations": v1alpha1.BackupConfigurationKind, "backupbatches": v1alpha1.BackupBatchKind,
	} {
		metadata(ctx, r, resource, v1alpha1.GroupVersion.WithKind(kind), func(o *metav1.PartialObjectMetadata) {
			s.Policies[o.Namespace]++
		})
	}
}

// repositories counts who keeps backups in which storage. It keeps no Repository.
func (r *reader) repositories(ctx context.Context, s *doctor.State) {
	pages(ctx, r, "repositories", func(page *v1alpha1.RepositoryList) {
		for i := range page.Items {
			repository := &page.Items[i]
			if !v1alpha1.InForce(repository) {
				continue
			}
			if repository.Spec.StorageRef.Name != "" {
				key := repository.Spec.StorageRef.In(repository.Namespace)
				s.Uses[doctor.Use{Storage: key.String(), Namespace: repository.Namespace}]++
			}
			if to := repository.Annotations[v1alpha1.AnnotationRestoreTo]; to != "" {
				s.RestoreTo[client.ObjectKeyFromObject(repository).String()] = to
			}
		}
	})
}
