package doctor

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// lines returns the lines of a report that are not ok.
func lines(r Report) (out []string) {
	for _, s := range r.Sections {
		for _, f := range s.Findings {
			if f.Level != OK {
				out = append(out, f.Line())
			}
		}
	}
	return out
}

func TestAnInstallationAsItIsShippedDeviatesNowhere(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := Judge(healthy(t))
	g.Expect(lines(r)).To(BeEmpty())
	for _, s := range r.Sections {
		g.Expect(s.Findings).NotTo(BeEmpty(), s.Name)
	}
}

// TestAnInstallationWithAPrefix has other names, as kustomize makes them. Its account is none that the policies
// cairn-manager-* limit.
func TestAnInstallationWithAPrefix(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := healthy(t)
	s.Manager.Name = "team-cairn-manager"
	s.Deployment.Spec.Template.Spec.ServiceAccountName = "team-cairn-manager"
	s.AdmissionPolicies = slices.Clone(s.AdmissionPolicies)
	for i := range s.AdmissionPolicies {
		s.AdmissionPolicies[i].Name = "team-" + s.AdmissionPolicies[i].Name
	}
	for i := range s.AdmissionBindings {
		spec := &s.AdmissionBindings[i].Spec
		spec.PolicyName = "team-" + spec.PolicyName
		if spec.ParamRef != nil {
			spec.ParamRef.Name = "team-cairn-manager"
		}
	}
	for i := range s.NetworkPolicies {
		s.NetworkPolicies[i].Name = "team-" + s.NetworkPolicies[i].Name
	}
	for i := range s.ClusterRoleBindings[:2] {
		s.ClusterRoleBindings[i].Subjects = []rbacv1.Subject{account("cairn-system", "team-cairn-manager")}
	}
	s.boundIn("shop", "team-cairn-scaler", account("cairn-system", "team-cairn-manager"))
	s.ClusterRoles = append(s.ClusterRoles, role("team-cairn-scaler", shipped().clusterRoles["cairn-scaler"]...))
	g.Expect(lines(Judge(s))).To(ConsistOf(HavePrefix("fail the account of the manager is called team-cairn-manager: " +
		"the policies cairn-manager-* limit only accounts called cairn-manager")))
}

// TestEachDeviationIsFound changes one thing each time.
func TestEachDeviationIsFound(t *testing.T) {
	t.Parallel()
	secrets := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}}
	for name, tt := range map[string]struct {
		change func(s *State)
		want   []string
	}{
		"no manager": {func(s *State) {
			s.Deployment, s.Others = nil, []string{"backups/team-cairn-manager"}
		}, []string{
			"fail there is no Deployment cairn-system/cairn-manager: name the manager with --manager " +
				"NAMESPACE/NAME, such " +
				"as one of these: backups/team-cairn-manager",
		}},
		"images by tags": {func(s *State) {
			s.Deployment.Spec.Template.Spec.Containers[0].Image = "registry.example.com:5000/manager:v2"
		}, []string{
			"warn the image of the manager is not pinned, so whoever can push",
			"warn the image of the manager has the tag v2, and this program is version v1",
		}},
		"open metrics": {func(s *State) { s.args("--metrics-secure=false") }, []string{
			"fail --metrics-secure=false serves the metrics to everybody in the cluster (docs/security.md#the-rest)",
		}},
		"loopback is open": {func(s *State) { s.args("--egress-allow", "127.0.0.0/8") }, []string{
			"warn --egress-allow opens addresses that are refused by default: 127.0.0.0/8",
		}},
		"a kind is missing": {func(s *State) { s.CRDs = s.CRDs[1:] }, []string{
			"fail CRDs are missing: apply config/crd: addons.backup.cairn.dev",
		}},
		"a kind has lost its rules": {func(s *State) {
			s.CRDs = slices.Clone(s.CRDs)
			s.CRDs[1] = *s.CRDs[1].DeepCopy()
			delete(s.CRDs[1].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties, "spec")
		}, []string{"fail CRDs are not those of this program (version v1)"}},
		"no NetworkPolicies": {func(s *State) { s.NetworkPolicies = nil }, []string{
			"warn namespace cairn-system lacks NetworkPolicies of the component config/network: cairn-manager, " +
				"cairn-movers",
		}},
		"an admission policy is missing": {func(s *State) {
			s.AdmissionPolicies = slices.DeleteFunc(slices.Clone(s.AdmissionPolicies),
				func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == "cairn-orders" })
		}, []string{"fail ValidatingAdmissionPolicies are missing: apply config/admission: cairn-orders"}},
		"an admission policy lets more through": {func(s *State) {
			s.AdmissionPolicies = slices.Clone(s.AdmissionPolicies)
			s.AdmissionPolicies[0].Spec.FailurePolicy = new(admissionv1.Ignore)
		}, []string{"fail ValidatingAdmissionPolicies are not those of this program"}},
		"a binding only audits": {func(s *State) {
			s.binding("cairn-mover").ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
		}, []string{"fail ValidatingAdmissionPolicyBinding cairn-mover does not deny"}},
		"a binding leaves namespaces out": {func(s *State) {
			s.binding("cairn-mover").MatchResources = &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			}
		}, []string{"fail ValidatingAdmissionPolicyBinding cairn-mover leaves requests out"}},
		"a binding trusts another account": {func(s *State) {
			s.binding("cairn-marks").ParamRef.Namespace = "shop"
		}, []string{"fail ValidatingAdmissionPolicyBinding cairn-marks takes another account for that of the " +
			"manager: its paramRef must name cairn-system/cairn-manager"}},
		"a policy without a binding": {func(s *State) {
			s.AdmissionBindings = slices.DeleteFunc(s.AdmissionBindings,
				func(b admissionv1.ValidatingAdmissionPolicyBinding) bool { return b.Name == "cairn-sidecar" })
		}, []string{"fail ValidatingAdmissionPolicy cairn-sidecar has no binding, so it denies nothing"}},
		"the manager lists Secrets": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("more", secrets))
			s.ClusterRoleBindings = append(s.ClusterRoleBindings,
				bound("more", account("cairn-system", "cairn-manager")))
		}, []string{"fail the manager has rights beyond docs/reference/rights.md: ClusterRoleBinding more, " +
			"ClusterRole " +
			"more: list secrets (docs/security.md#the-managers-rights)"}},
		"its own ClusterRole has grown": {func(s *State) {
			for i := range s.ClusterRoles {
				if s.ClusterRoles[i].Name == "cairn-manager" {
					s.ClusterRoles[i].Rules = append(slices.Clone(s.ClusterRoles[i].Rules), secrets)
				}
			}
		}, []string{"fail the manager has rights beyond docs/reference/rights.md: ClusterRoleBinding cairn-manager"}},
		"all accounts may list Secrets": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("more", secrets))
			s.ClusterRoleBindings = append(s.ClusterRoleBindings,
				bound("more", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"}))
		}, []string{"fail the manager has rights beyond docs/reference/rights.md: ClusterRoleBinding more"}},
		"rights in one namespace": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("more", secrets))
			s.boundIn("shop", "more", user("system:serviceaccount:cairn-system:cairn-manager"))
		}, []string{"fail the manager has rights beyond docs/reference/rights.md: RoleBinding shop/more, " +
			"ClusterRole more"}},
		"a role that does not exist": {func(s *State) {
			s.boundIn("shop", "later", account("cairn-system", "cairn-manager"))
		}, []string{"warn RoleBinding shop/later, ClusterRole later: the role does not exist"}},
		"the component that impersonates": {func(s *State) {
			s.ClusterRoleBindings = append(s.ClusterRoleBindings,
				bound("cairn-impersonator", account("cairn-system", "cairn-manager")))
		}, []string{"warn the manager can act as each account of the cluster (config/impersonation)"}},
		"a role of the manager is " +
			"gone": {func(s *State) { s.ClusterRoleBindings = s.ClusterRoleBindings[1:] }, []string{
			"fail the manager lacks rights of docs/reference/rights.md: get,list,watch *.backup.cairn.dev",
		}},
		"somebody makes its tokens": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("tokens", rbacv1.PolicyRule{
				APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"},
			}))
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, bound("tokens", user("eve")))
		}, []string{"warn User eve (ClusterRoleBinding tokens, ClusterRole tokens) can make tokens of the manager"}},
		"an add-on in kube-system starts pods": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("add-on", rbacv1.PolicyRule{
				APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create"},
			}), role("system:controller:job-controller", rbacv1.PolicyRule{
				APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create"},
			}))
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, bound("add-on", account("kube-system", "add-on")),
				bound("system:controller:job-controller", account("kube-system", "job-controller")))
		}, []string{"warn ServiceAccount kube-system/add-on (ClusterRoleBinding add-on, ClusterRole add-on) can"}},
		"somebody acts as it": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("as", rbacv1.PolicyRule{
				APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"},
			}))
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, bound("as", user("eve")))
		}, []string{"warn User eve (ClusterRoleBinding as, ClusterRole as) can act as the manager"}},
		"somebody starts pods beside it": {func(s *State) {
			s.ClusterRoles = append(s.ClusterRoles, role("pods", rbacv1.PolicyRule{
				APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"patch"},
			}))
			s.boundIn("cairn-system", "pods", account("", "ci"))
		}, []string{"warn ServiceAccount cairn-system/ci (RoleBinding cairn-system/pods, ClusterRole pods) can " +
			"start or " +
			"enter pods beside the manager"}},
		"somebody edits the administrators' policy": {func(s *State) {
			s.boundIn("cairn-system", "cairn-edit", user("eve"))
		}, []string{"warn can edit policy in cairn-system, a namespace of the administrators, and so the backups of " +
			"all " +
			"namespaces: User eve"}},
		"somebody edits all policy": {func(s *State) {
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, bound("cairn-edit", user("eve")))
		}, []string{"warn can edit policy in all namespaces"}},
		"hooks with rights elsewhere": {func(s *State) {
			s.boundIn("cairn-system", "cairn-hook-exec", account("shop", "cairn-hook"))
		}, []string{
			"warn ServiceAccount shop/cairn-hook (RoleBinding cairn-system/cairn-hook-exec, ClusterRole " +
				"cairn-hook-exec) " +
				"can start or enter pods beside the manager",
			"warn these accounts, which the manager acts as for whoever writes policy",
		}},
		"privileged movers": {func(s *State) {
			s.Namespaces[1].Annotations = map[string]string{v1alpha1.AnnotationPrivilegedMovers: "true"}
		}, []string{"warn namespaces whose movers may run as root, mount the host and take the cloud's identity " +
			"(backup.cairn.dev/privileged-movers): shop (docs/security.md#other-namespaces)"}},
		"a consent to nobody": {func(s *State) {
			s.Namespaces[1].Labels = map[string]string{v1alpha1.RecordedByLabel("gone"): "true"}
		}, []string{"warn namespaces that let the Ledgers of a namespace without any record them"}},
		"restores for everybody": {func(s *State) { s.RestoreTo["shop/web"] = "a, *" }, []string{
			"warn each namespace can restore from these Repositories (backup.cairn.dev/restore-to: \"*\"): shop/web",
		}},
		"a hook to a metadata service": {func(s *State) {
			s.HookTemplates = []v1alpha1.HookTemplate{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tell"},
				Spec: v1alpha1.HookTemplateSpec{Action: &v1alpha1.HookAction{
					HTTPGet: &v1alpha1.HookHTTPGetAction{Host: "169.254.169.254", Port: intstr.FromInt32(80)},
				}},
			}}
		}, []string{"warn http://169.254.169.254:80, refused: 169.254.169.254: Cairn does not connect there"}},
		"a storage on loopback, allowed": {func(s *State) {
			s.args("--egress-allow=127.0.0.1/32")
			s.storage("shop", "s3", func(b *v1alpha1.BackupStorageSpec) {
				b.Storage.S3.Endpoint = "https://127.0.0.1:9000"
			})
		}, []string{
			"warn --egress-allow opens addresses that are refused by default: 127.0.0.1/32",
			"warn https://127.0.0.1:9000, allowed by --egress-allow: BackupStorage shop/s3",
		}},
		"a storage for all without directories": {func(s *State) {
			s.storage("cairn-system", "s3", func(b *v1alpha1.BackupStorageSpec) { b.UsagePolicy = open() })
		}, []string{"warn BackupStorage cairn-system/s3 binds nobody to a directory"}},
		"a Repository where nobody allowed it": {func(s *State) {
			s.storage("cairn-system", "s3", nil)
			s.Uses[Use{"cairn-system/s3", "shop"}] = 3
		}, []string{"warn namespaces with Repositories in BackupStorage cairn-system/s3, which it does not allow: " +
			"shop (3)"}},
		"movers without a NetworkPolicy": {func(s *State) {
			s.Policies["cairn-system"] = 1
			s.storage("cairn-system", "s3", func(b *v1alpha1.BackupStorageSpec) { b.Default = true })
			s.RetentionPolicies = []v1alpha1.RetentionPolicy{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "cairn-system", Name: "keep"},
				Spec:       v1alpha1.RetentionPolicySpec{Default: true},
			}}
		}, []string{"warn namespaces with policy and no NetworkPolicy that keeps others from movers"}},
		"policy without a default": {func(s *State) {
			s.Policies["shop"], s.Guarded = 1, map[string]bool{"shop": true}
		}, []string{
			"warn namespaces with policy and no default BackupStorage: its policy must name a storage: shop",
			"warn namespaces with policy and no default RetentionPolicy: everything is kept where policy names " +
				"none: shop",
		}},
		"a default that is not shared": {func(s *State) {
			s.storage("shop", "s3", func(b *v1alpha1.BackupStorageSpec) {
				b.Default, b.UsagePolicy = true, open()
				b.UsagePolicy.DirectoryPrefix = "/{namespace}"
			})
		}, []string{"warn BackupStorage shop/s3: this is the default of its own namespace alone"}},
		"two defaults": {func(s *State) {
			for _, name := range []string{"a", "b"} {
				s.storage("cairn-system", name, func(b *v1alpha1.BackupStorageSpec) {
					b.Default, b.UsagePolicy = true, open()
					b.UsagePolicy.DirectoryPrefix = "/{namespace}"
				})
			}
		}, []string{
			"warn the administrators have several default BackupStorages, cairn-system/a, cairn-system/b, for: shop",
			"warn BackupStorage cairn-system/b: BackupStorage a is already the default of this namespace",
		}},
		"any certificate": {func(s *State) {
			s.storage("shop", "s3", func(b *v1alpha1.BackupStorageSpec) { b.Storage.S3.InsecureTLS = true })
		}, []string{"fail BackupStorages with insecureTLS, which give their keys to any server on the way: shop/s3"}},
		"one key for all": {func(s *State) {
			s.storage("shop", "s3", func(b *v1alpha1.BackupStorageSpec) { b.MaintenanceSecretName = "" })
			s.storage("shop", "s4", func(b *v1alpha1.BackupStorageSpec) { b.MaintenanceSecretName = "key" })
		}, []string{
			"fail BackupStorages whose maintenanceSecretName is the Secret of the movers",
			"warn BackupStorages without maintenanceSecretName",
		}},
		"a PolicySync of the administrators": {func(s *State) {
			s.PolicySyncs = []v1alpha1.PolicySync{policySync("cairn-system", "all")}
		}, []string{"warn PolicySyncs in namespaces of the administrators"}},
		"a PolicySync that reaches them": {func(s *State) {
			p := policySync("shop", "policy")
			p.Status.Inventory = &v1alpha1.ResourceInventory{Entries: []v1alpha1.ResourceRef{
				{ID: "cairn-system_s3_backup.cairn.dev_BackupStorage"}, {ID: "shop_s3_backup.cairn.dev_BackupStorage"},
			}}
			s.PolicySyncs = []v1alpha1.PolicySync{p}
		}, []string{"warn PolicySyncs of other namespaces that apply into namespaces of the administrators: " +
			"shop/policy " +
			"(cairn-system)"}},
		"another account": {func(s *State) {
			p := policySync("shop", "policy")
			p.Spec.ServiceAccountName = "deployer"
			s.PolicySyncs = []v1alpha1.PolicySync{p}
		}, []string{"warn PolicySyncs with another account than cairn-policy: shop/policy (deployer)"}},
		"a Ledger without consent": {func(s *State) {
			s.Ledgers = []v1alpha1.Ledger{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "records"},
				Spec: v1alpha1.LedgerSpec{
					URL: "https://git.example.com/r", NamespaceSelector: &metav1.LabelSelector{},
				},
			}}
		}, []string{"warn Ledger shop/records selects namespaces that have not consented (label " +
			"recorded-by.backup.cairn.dev/shop), and does not record them: cairn-system (docs/security.md#ledgers)"}},
		"too many Ledgers": {func(s *State) {
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				s.Ledgers = append(s.Ledgers, v1alpha1.Ledger{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)},
					Spec:       v1alpha1.LedgerSpec{URL: "https://git.example.com/r"},
				})
			}
		}, []string{"fail Ledgers beyond the 4 of a namespace that are served: shop/e"}},
		"images that can change": {func(s *State) {
			for name, image := range map[string]string{
				"a": "${moverImage}", "b": "postgres:17", "c": "${image}", "d": "x" + digest,
			} {
				s.Functions = append(s.Functions, v1alpha1.Function{
					ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.FunctionSpec{Image: image},
				})
			}
		}, []string{"warn Functions whose image is not pinned by its digest: whoever can push to its registry " +
			"changes " +
			"what runs: b (postgres:17) (docs/security.md#foreign-code)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := healthy(t)
			tt.change(s)
			found := lines(Judge(s))
			g.Expect(found).To(HaveLen(len(tt.want)), "%s", strings.Join(found, "\n"))
			for i, want := range tt.want {
				g.Expect(found[i]).To(HavePrefix(want))
			}
		})
	}
}

// binding returns the spec of the binding of a policy.
func (s *State) binding(name string) *admissionv1.ValidatingAdmissionPolicyBindingSpec {
	for i := range s.AdmissionBindings {
		if s.AdmissionBindings[i].Name == name {
			return &s.AdmissionBindings[i].Spec
		}
	}
	return nil
}

func policySync(namespace, name string) v1alpha1.PolicySync {
	return v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PolicySyncSpec{
			URL: "https://git.example.com/policy", Verify: &v1alpha1.GitVerification{},
		},
	}
}

// TestWhatIsNotReadIsNotApproved leaves out one resource each time, as somebody sees the cluster who may not read it.
func TestWhatIsNotReadIsNotApproved(t *testing.T) {
	t.Parallel()
	for resource, tt := range map[string]struct {
		clear func(*State)
		// approval is what only somebody can say who has read it.
		approval string
	}{
		"customresourcedefinitions":         {func(s *State) { s.CRDs = nil }, "the CRDs are those"},
		"networkpolicies":                   {func(s *State) { s.NetworkPolicies = nil }, "the NetworkPolicies of"},
		"validatingadmissionpolicies":       {func(s *State) { s.AdmissionPolicies = nil }, "are there and deny"},
		"validatingadmissionpolicybindings": {func(s *State) { s.AdmissionBindings = nil }, "are there and deny"},
		"clusterroles":                      {func(s *State) { s.ClusterRoles = nil }, "and no others"},
		"clusterrolebindings":               {func(s *State) { s.ClusterRoleBindings = nil }, "nobody else has power"},
		"rolebindings":                      {func(s *State) { s.RoleBindings = nil }, "nobody else has power"},
		"roles":                             {func(s *State) { s.Roles = nil }, "and no others"},
		"namespaces":                        {func(s *State) { s.Namespaces = nil }, "no namespace has allowed"},
		"policysyncs":                       {func(s *State) { s.PolicySyncs = nil }, "nothing deviates"},
		"ledgers":                           {func(s *State) { s.Ledgers = nil }, "no object names a server"},
		"backupstorages":                    {func(s *State) { s.Storages = nil }, "no storage and no hook is open"},
		"hooktemplates": {func(s *State) { s.HookTemplates = nil }, "no storage and no hook is " +
			"open"},
		"repositories": {func(s *State) { s.Uses = nil }, "no namespace has allowed"},
		"functions":    {func(s *State) { s.Functions = nil }, "nothing deviates"},
	} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			all := func(s *State) string {
				text, err := json.Marshal(Judge(s))
				g.Expect(err).NotTo(HaveOccurred())
				return string(text)
			}
			s := healthy(t)
			g.Expect(all(s)).To(ContainSubstring(tt.approval))
			tt.clear(s)
			s.Unread[resource] = "you may not"
			g.Expect(all(s)).NotTo(ContainSubstring(tt.approval))
			g.Expect(lines(Judge(s))).To(Equal([]string{
				"fail " + resource + ": you may not: what depends on them is not judged",
			}))
		})
	}
}

func TestNoCredentialIsShown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := healthy(t)
	c := &s.Deployment.Spec.Template.Spec.Containers[0]
	c.Env = append(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://me:hunter2@proxy.example.com:3128"})
	p, other := policySync("shop", "policy"), policySync("shop", "other")
	p.Spec.URL, other.Spec.URL = "https://hunter2@git.example.com/r", "https://git.example.com/hunter2"
	s.PolicySyncs = []v1alpha1.PolicySync{p, other}
	s.storage("shop", "s3", func(b *v1alpha1.BackupStorageSpec) {
		b.Storage.S3.Endpoint = "https://me:hunter2@s3.example.com"
	})
	s.storage("shop", "dav", func(b *v1alpha1.BackupStorageSpec) {
		b.Storage = v1alpha1.Storage{
			Provider: v1alpha1.ProviderWebDAV,
			WebDAV:   &v1alpha1.WebDAVStorage{URL: "https://me:hunter2@dav.example.com/x?t=hunter2", SecretName: "key"},
		}
	})
	text, err := json.Marshal(Judge(s))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(And(ContainSubstring("https://dav.example.com"),
		ContainSubstring("through the proxy proxy.example.com:3128"), Not(ContainSubstring("hunter2"))))
}

// TestEachDeviationPointsAtASectionOfThePage fails if a heading of docs/security.md is renamed.
func TestEachDeviationPointsAtASectionOfThePage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	page, err := os.ReadFile("../../docs/security.md")
	g.Expect(err).NotTo(HaveOccurred())
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(page), -1) {
		anchor := regexp.MustCompile(`[^a-z ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	source, err := os.ReadFile("report.go")
	g.Expect(err).NotTo(HaveOccurred())
	found := regexp.MustCompile(`"docs/security.md#([^"]*)"`).FindAllStringSubmatch(string(source), -1)
	g.Expect(len(found)).To(BeNumerically(">", 8))
	for _, see := range found {
		g.Expect(anchors).To(HaveKey(see[1]))
	}
}

func TestALineNamesOnlyTheFirstOfMany(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var s Section
	s.add(Warn, seeRest, strings.Split("kjihgfedcba", ""), "many")
	g.Expect(s.Findings[0].Line()).To(Equal("warn many: a, b, c, d, e, f, g, h and 3 more (" + seeRest + ")"))
	g.Expect(s.Findings[0].Of).To(HaveLen(11))
}

func TestANetworkPolicyGuardsMoversIfItLetsNobodyIn(t *testing.T) {
	t.Parallel()
	cairn := metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/managed-by": "cairn"}}
	in := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	for name, tt := range map[string]struct {
		spec networkingv1.NetworkPolicySpec
		want bool
	}{
		"the shipped one":    {networkingv1.NetworkPolicySpec{PodSelector: cairn, PolicyTypes: in}, true},
		"one of all pods":    {networkingv1.NetworkPolicySpec{PolicyTypes: in}, true},
		"one for other pods": {networkingv1.NetworkPolicySpec{PodSelector: *other(), PolicyTypes: in}, false},
		"one that is about egress": {networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		}, false},
		"one that lets in": {networkingv1.NetworkPolicySpec{
			PolicyTypes: in, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(Guards(&networkingv1.NetworkPolicy{Spec: tt.spec})).To(Equal(tt.want))
		})
	}
}

func other() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}
