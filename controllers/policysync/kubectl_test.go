package policysync

import (
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The field managers of "kubectl apply" and "kubectl edit".
const (
	kubectlApply = "kubectl-client-side-apply"
	kubectlEdit  = "kubectl-edit"
)

func keeping(rule string) string {
	return "apiVersion: backup.cairn.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {name: keep}\n" +
		"spec: {" + rule + "}\n"
}

// byKubectl creates an object as "kubectl apply" does.
func (r *testNamespace) byKubectl(file string) {
	r.t.Helper()
	u := &unstructured.Unstructured{}
	r.g.Expect(yaml.Unmarshal([]byte(file), u)).To(Succeed())
	u.SetNamespace(r.namespace)
	u.SetAnnotations(map[string]string{corev1.LastAppliedConfigAnnotation: "{}"})
	r.g.Expect(r.Create(r.t.Context(), u, client.FieldOwner(kubectlApply))).To(Succeed())
}

// patched changes an object as a program does.
func (r *testNamespace) patched(o client.Object, manager, patch string) {
	r.t.Helper()
	o.SetNamespace(r.namespace)
	r.g.Expect(r.Patch(r.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch)),
		client.FieldOwner(manager))).To(Succeed())
}

func TestAFieldThatKubectlAppliedGoesWithGit(t *testing.T) {
	for name, manager := range map[string]string{"client-side": kubectlApply, "server-side": "kubectl"} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			old := "maxRetentionPeriod: 30d"
			if manager == kubectlApply {
				r.byKubectl(keeping(old))
			} else {
				u := &unstructured.Unstructured{}
				r.g.Expect(yaml.Unmarshal([]byte(keeping(old)), u)).To(Succeed())
				u.SetNamespace(r.namespace)
				r.g.Expect(r.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u),
					client.FieldOwner(manager))).To(Succeed())
			}
			revision := r.push(map[string]string{"policy/keep.yaml": keeping(old), "policy/s.yaml": storage("local")})
			r.reconcile()
			r.expectReady(revision)
			keep := &v1alpha1.RetentionPolicy{}
			r.g.Expect(r.exists(keep, "keep")).To(BeTrue())
			r.g.Expect(keep.Spec.MaxRetentionPeriod).NotTo(BeEmpty())

			revision = r.push(map[string]string{
				"policy/keep.yaml": keeping("successfulSnapshots: {monthly: 12}"), "policy/s.yaml": storage("local"),
			})
			r.reconcile()
			r.expectReady(revision)
			keep = &v1alpha1.RetentionPolicy{}
			r.g.Expect(r.exists(keep, "keep")).To(BeTrue())
			r.g.Expect(keep.Spec.SuccessfulSnapshots.Monthly).NotTo(BeZero())
			r.g.Expect(keep.Spec.MaxRetentionPeriod).To(BeEmpty(), "Git does not have it any more")
			r.g.Expect(keep.Annotations).NotTo(HaveKey(corev1.LastAppliedConfigAnnotation))

			r.restart()
			r.clock.Step(driftInterval)
			writes := r.api.writes()
			r.reconcile()
			r.g.Expect(r.api.writes()).To(Equal(writes), "nothing drifted")
		})
	}
}

// A field that Git does not have is an edit by hand, too. What "cairn pause" writes is not, nor is a request in an
// annotation. What a person added to a RetentionPolicy can be the only thing that keeps old backups, and so can a
// pause.
func TestAFieldThatKubectlAddedIsReverted(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/k.yaml": keeping("maxRetentionPeriod: 1y"),
		"policy/a.yaml": configuration("a", "0 2 * * *"), "policy/b.yaml": configuration("b", "0 2 * * *"),
		"policy/c.yaml": configuration("c", "0 2 * * *"),
	})
	r.reconcile()
	r.emitted()
	a, b, c := &v1alpha1.BackupConfiguration{}, &v1alpha1.BackupConfiguration{}, &v1alpha1.BackupConfiguration{}
	a.Name, b.Name, c.Name = "a", "b", "c"
	const edit = `{"name":"nightly","scheduler":{"schedule":"0 2 * * *"},"backupTimeout":"1h",` +
		`"addon":{"name":"pvc-addon","tasks":[{"name":"logical-backup"}]},"repositories":` +
		`[{"name":"a","backend":"main","directory":"/a","encryptionSecret":{"name":"enc"}}]}`
	r.patched(a, kubectlEdit, `{"spec":{"paused":true,"sessions":[`+edit+`]},"metadata":{"labels":{"team":"web"}}}`)
	r.g.Expect(a.Spec.Sessions[0].BackupTimeout).NotTo(BeNil())
	r.patched(a, "kubectl-annotate", `{"metadata":{"annotations":{"example.org/request":"now"}}}`)
	r.patched(b, "cairn", `{"spec":{"paused":true}}`)
	r.patched(c, kubectlEdit, `{"spec":{"paused":true}}`)
	pause := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"paused": true}}}
	pause.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.BackupConfigurationKind))
	pause.SetNamespace(r.namespace)
	pause.SetName("c")
	r.g.Expect(r.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(pause), client.FieldOwner("cairn"))).
		To(Succeed())
	keep := &v1alpha1.RetentionPolicy{}
	keep.Name = "keep"
	r.patched(keep, "kubectl-patch", `{"spec":{"successfulSnapshots":{"yearly":5}}}`)
	lost := true
	r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		patch := req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/backupconfigurations/a")
		if lost && patch && req.Header.Get("Content-Type") == string(types.MergePatchType) {
			lost = false // the object changes meanwhile
			r.g.Expect(bed.Client.Patch(t.Context(), a.DeepCopy(), client.RawPatch(types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"more":"web"}}}`)), client.FieldOwner("kubectl-label"))).To(Succeed())
		}
		return next.RoundTrip(req)
	}
	r.clock.Step(driftInterval)
	r.reconcile()
	r.api.around = nil
	r.expectReady(revision)
	r.g.Expect(lost).To(BeFalse())
	r.g.Expect(r.emitted()).To(ConsistOf(ContainSubstring("changed or deleted by hand")))
	a, b, c = &v1alpha1.BackupConfiguration{}, &v1alpha1.BackupConfiguration{}, &v1alpha1.BackupConfiguration{}
	keep = &v1alpha1.RetentionPolicy{}
	r.g.Expect(r.exists(a, "a") && r.exists(b, "b") && r.exists(c, "c") && r.exists(keep, "keep")).To(BeTrue())
	r.g.Expect(a.Spec.Sessions[0].BackupTimeout).To(BeNil(), "kubectl edit")
	r.g.Expect(a.Spec.Paused).To(BeTrue(), "kubectl edit")
	r.g.Expect(keep.Spec.SuccessfulSnapshots.Yearly).NotTo(BeZero(), "kubectl patch")
	r.g.Expect(b.Spec.Paused).To(BeTrue(), "cairn pause")
	r.g.Expect(c.Spec.Paused).To(BeTrue(), "cairn pause after kubectl edit")
	r.g.Expect(a.Labels).To(And(HaveKeyWithValue("team", "web"), HaveKeyWithValue("more", "web")))
	r.g.Expect(a.Annotations).To(HaveKey("example.org/request"))

	for range 2 {
		r.clock.Step(driftInterval)
		writes := r.api.writes()
		r.reconcile()
		r.g.Expect(r.api.writes()).To(Equal(writes), "nothing drifted")
		r.restart()
	}
}

// appliedPolicy applies a file with the policy "web" of a kind. It returns all files of the repository, and an object
// that stands for the policy.
func appliedPolicy(t *testing.T, kind, file string) (*testNamespace, map[string]string, *unstructured.Unstructured) {
	t.Helper()
	r := newRoom(t)
	files := map[string]string{"policy/s.yaml": storage("local"), "policy/p.yaml": file}
	r.push(files)
	r.reconcile()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetName("web")
	return r, files, u
}

// The RetentionPolicy that a person named with kubectl can be the only thing that keeps old backups. Its backend goes
// with Git all the same, and a backend beside those of Git goes: repositories in Git that name no backend mean Git's.
func TestARetentionPolicyThatKubectlNamedStays(t *testing.T) {
	const keep = `"retentionPolicy":{"name":"keep"}`
	for kind, file := range map[string]string{
		v1alpha1.BackupConfigurationKind: configuration("web", "0 2 * * *"),
		v1alpha1.BackupBatchKind:         batchFile("web", "web"),
	} {
		t.Run(kind, func(t *testing.T) {
			r, files, u := appliedPolicy(t, kind, file)
			r.patched(u, "kubectl-patch", `{"spec":{"backends":[{"name":"main","storageRef":{"name":"local"},`+keep+
				`},{"name":"more",`+keep+`},{"name":"other"}]}}`)
			names := func() (out []string) {
				t.Helper()
				r.g.Expect(r.exists(u, "web")).To(BeTrue())
				backends, _, err := unstructured.NestedSlice(u.Object, "spec", "backends")
				r.g.Expect(err).NotTo(HaveOccurred())
				for _, b := range backends {
					backend := b.(map[string]any)
					kept, _, _ := unstructured.NestedString(backend, "retentionPolicy", "name")
					out = append(out, backend["name"].(string)+" "+kept)
				}
				return out
			}
			for range 2 {
				r.clock.Step(driftInterval)
				r.reconcile()
				r.g.Expect(names()).To(ConsistOf("main keep"))
			}
			files["policy/p.yaml"] = strings.ReplaceAll(strings.ReplaceAll(file, "name: main", "name: new"),
				"backend: main", "backend: new")
			revision := r.push(files)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(names()).To(ConsistOf("new "))
		})
	}
}

// A name of Git with the namespace of a person would be an object that nobody has named.
func TestAReferenceStaysOrGoesWhole(t *testing.T) {
	for kind, file := range map[string]string{
		v1alpha1.BackupConfigurationKind: configuration("web", "0 2 * * *"),
		v1alpha1.BackupBatchKind:         batchFile("web", "web"),
	} {
		t.Run(kind, func(t *testing.T) {
			r, files, u := appliedPolicy(t, kind, file)
			const local = "storageRef: {name: local}"
			edited := func(file string) {
				t.Helper()
				data, err := yaml.YAMLToJSON([]byte(strings.NewReplacer("name: local}", "name: local, namespace: ops}",
					"name: default}", "name: default, namespace: ops}", "name: enc}", "name: enc, namespace: ops}").
					Replace(file)))
				r.g.Expect(err).NotTo(HaveOccurred())
				r.patched(u, kubectlEdit, string(data))
				r.clock.Step(driftInterval)
			}
			spec := func() string {
				t.Helper()
				r.g.Expect(r.exists(u, "web")).To(BeTrue())
				data, err := yaml.Marshal(u.Object["spec"])
				r.g.Expect(err).NotTo(HaveOccurred())
				return string(data)
			}
			edited(strings.Replace(file, local, local+", retentionPolicy: {name: keep, namespace: far}", 1))
			r.reconcile()
			r.g.Expect(spec()).To(And(ContainSubstring("name: keep\n"), ContainSubstring("namespace: far\n"),
				Not(ContainSubstring("namespace: ops\n"))))

			named := strings.Replace(file, local, local+", retentionPolicy: {name: default}", 1)
			files["policy/p.yaml"] = named
			revision := r.push(files)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(spec()).To(And(ContainSubstring("name: default\n"), Not(ContainSubstring("namespace:"))))
			r.emitted()

			edited(named)
			r.g.Expect(spec()).To(ContainSubstring("namespace: ops"))
			r.reconcile()
			r.g.Expect(r.emitted()).To(ConsistOf(ContainSubstring("changed or deleted by hand")))
			r.g.Expect(spec()).To(And(ContainSubstring("name: default\n"), Not(ContainSubstring("namespace:"))))

			edited(named)
			files["policy/p.yaml"] = file
			revision = r.push(files)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(spec()).NotTo(Or(ContainSubstring("retentionPolicy"), ContainSubstring("namespace:")))
		})
	}
}

// kubectl owns the object around a field that both have set, too. Without its only field it would be invalid.
func TestAnObjectOfKubectlGoesWithItsLastField(t *testing.T) {
	file := configuration("web", "0 2 * * *")
	monthly, yearly := keeping("successfulSnapshots: {monthly: 12}"), keeping("maxRetentionPeriod: 1y")
	for name, tt := range map[string]struct{ kind, object, field, before, edit, after, left string }{
		"a reference": {
			kind: v1alpha1.BackupConfigurationKind, object: "web", field: "retentionPolicy", after: file,
			before: strings.Replace(file, "storageRef: {name: local}",
				"storageRef: {name: local}, retentionPolicy: {name: keep}", 1),
		},
		"rules": {
			kind: v1alpha1.RetentionPolicyKind, object: "keep", field: "successfulSnapshots",
			before: monthly, after: yearly,
		},
		"rules and one that was added": {
			kind: v1alpha1.RetentionPolicyKind, object: "keep", field: "successfulSnapshots",
			before: monthly, edit: `{"spec":{"successfulSnapshots":{"yearly":5}}}`, after: yearly,
			left: "successfulSnapshots:\n  yearly: 5\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.byKubectl(tt.before)
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(tt.kind))
			sync := func(file string) string {
				t.Helper()
				revision := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/p.yaml": file})
				r.reconcile()
				r.expectReady(revision)
				r.g.Expect(r.exists(u, tt.object)).To(BeTrue())
				data, err := yaml.Marshal(u.Object["spec"])
				r.g.Expect(err).NotTo(HaveOccurred())
				return string(data)
			}
			r.g.Expect(sync(tt.before)).To(ContainSubstring(tt.field))
			if tt.edit != "" {
				r.patched(u, "kubectl-patch", tt.edit)
			}
			spec := sync(tt.after)
			r.g.Expect(spec).To(ContainSubstring(tt.left))
			r.g.Expect(strings.Contains(spec, tt.field)).To(Equal(tt.left != ""), spec)
		})
	}
}

// Git can leave the backends to defaults.
func TestARetentionPolicyOfABackendThatGitLacksStays(t *testing.T) {
	r := newRoom(t)
	const backends = "  backends: [{name: main, storageRef: {name: local}}]\n"
	file := strings.Replace(configuration("web", "0 2 * * *"), backends, "", 1)
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/p.yaml": strings.Replace(file, "backend: main, ", "", 1),
	})
	r.reconcile()
	r.expectReady(revision)
	c := &v1alpha1.BackupConfiguration{}
	c.Name = "web"
	r.patched(c, "kubectl-patch", `{"spec":{"backends":[{"retentionPolicy":{"name":"keep"}},{"name":"more"}]}}`)
	for range 2 {
		r.clock.Step(driftInterval)
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.exists(c, "web")).To(BeTrue())
		r.g.Expect(c.Spec.Backends).To(HaveLen(1))
		r.g.Expect(c.Spec.Backends[0].RetentionPolicy).NotTo(BeNil())
	}
}

// What kubectl wrote into a Secret or on a Namespace stays a person's, although Git has applied a label there.
func TestWhatKubectlWroteIntoASecretStays(t *testing.T) {
	r := asDeployer(t)
	r.byKubectl(strings.Replace(password("the only copy"), "stringData", "immutable: false\nstringData", 1))
	namespace := &corev1.Namespace{}
	namespace.Name = r.namespace
	r.g.Expect(r.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"team":"web"},"annotations":{"example.org/by":"me"}}}`)),
		client.FieldOwner(kubectlApply))).To(Succeed())
	files := func(label string) map[string]string {
		return map[string]string{
			"policy/a.yaml": storage("a"),
			"policy/e.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: enc, labels: {git: " + label + "}}\n",
			"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.namespace + ", labels: {git: " +
				label + "}}\n",
		}
	}
	r.begins(files("one"))
	revision := r.push(files("two"))
	r.reconcile()
	r.expectReady(revision)
	r.expectPassword("the only copy")
	r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)).To(Succeed())
	r.g.Expect(namespace.Labels).To(And(HaveKeyWithValue("team", "web"), HaveKeyWithValue("git", "two")))
	r.g.Expect(namespace.Annotations).To(HaveKey("example.org/by"))
}

// A backend that kubectl applied does not hold up the one that Git has instead.
func TestWhatKubectlAppliedDoesNotHoldUpItsReplacement(t *testing.T) {
	r := newRoom(t)
	r.byKubectl(storage("local"))
	revision := r.push(map[string]string{"policy/s.yaml": strings.Replace(storage("local"),
		"{provider: local, local: {persistentVolumeClaim: {claimName: backups}}}",
		"{provider: s3, s3: {bucket: bucket, endpoint: \"https://s3.example.org\", secretName: key}}", 1)})
	r.reconcile()
	r.expectReady(revision)
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(s.Spec.Storage.Local).To(BeNil())
}
