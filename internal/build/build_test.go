package build_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

func TestPlainDirectory(t *testing.T) {
	g := NewWithT(t)
	root := files{
		"policy/b.yml": configuration("uploads"),
		"policy/a.yaml": "---\n" + storage("local") + "---\n" + storage("second") +
			"status: {phase: Ready}\n",
		"policy/deep/er/c.yaml":   configuration("web"),
		"policy/.github/ci.yaml":  "on: push",
		"policy/README.md":        "<<<<<<< not looked at",
		"elsewhere/not-ours.yaml": "broken: [",
	}.write(t)
	result, err := build.Build(t.Context(), root, "./policy", confined)
	g.Expect(err).NotTo(HaveOccurred())
	var got []string
	for _, o := range result.Objects {
		got = append(got, fmt.Sprintf("%s#%d %s %s/%s", o.File, o.Document, o.Unstructured.GetKind(),
			o.Unstructured.GetNamespace(), o.Unstructured.GetName()))
	}
	g.Expect(got).To(Equal([]string{
		"policy/a.yaml#1 BackupStorage shop/local",
		"policy/a.yaml#2 BackupStorage shop/second",
		"policy/b.yml#1 BackupConfiguration shop/uploads",
		"policy/deep/er/c.yaml#1 BackupConfiguration shop/web",
	}))
	g.Expect(result.Objects[1].Unstructured.Object).NotTo(HaveKey("status"))
	g.Expect(result.Objects[1].Line("spec.storage.provider")).To(Equal(18))
	g.Expect(result.Objects[2].Line("spec.sessions[0].nothing.here")).To(Equal(11))
	for range 2 {
		result.Release()
		g.Expect(result.Objects[1].Line("spec.storage.provider")).To(Equal(15), "the line of the name")
	}
}

func TestWhatTheServerSetsIsLeftOut(t *testing.T) {
	g := NewWithT(t)
	root := files{
		"a.yaml": replace(t, storage("s"), "  name: s\n", "  name: s\n  uid: abc\n  resourceVersion: \"5\"\n  "+
			"creationTimestamp: 2026-01-01T00:00:00Z\n  generation: 3\n"),
	}.write(t)
	result, err := build.Build(t.Context(), root, "", confined)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Objects[0].Unstructured.Object["metadata"]).
		To(Equal(map[string]any{"name": "s", "namespace": "shop"}))
}

func TestASingleFile(t *testing.T) {
	g := NewWithT(t)
	root := files{"a.yaml": storage("s"), "b.yaml": "broken: ["}.write(t)
	result, err := build.Build(t.Context(), root, "a.yaml", build.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Objects).To(HaveLen(1))
	g.Expect(result.Objects[0].Unstructured.GetNamespace()).To(BeEmpty())
}

func TestALinkedFileInsideIsRead(t *testing.T) {
	g := NewWithT(t)
	root := files{"shared/s.yaml": storage("s"), "policy/s.yaml": "-> ../shared/s.yaml"}.write(t)
	result, err := build.Build(t.Context(), root, "policy", confined)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Objects[0].File).To(Equal("policy/s.yaml"))
}

func TestItemsOfAList(t *testing.T) {
	g := NewWithT(t)
	root := files{"a.yaml": "apiVersion: v1\nkind: List\nitems:\n- " +
		strings.TrimSpace(strings.ReplaceAll(storage("s"), "\n", "\n  ")) + "\n"}.write(t)
	result, err := build.Build(t.Context(), root, "", confined)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Objects).To(HaveLen(1))
	g.Expect(result.Objects[0].Line("spec.storage.provider")).To(Equal(10))
}

func TestAliasesWithinTheLimitAreExpanded(t *testing.T) {
	g := NewWithT(t)
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: &l {a: b}, annotations: {<<: *l, c: " +
		"d}}\ndata: *l\n"
	result, err := build.Build(t.Context(), files{"a.yaml": text}.write(t), "", build.Options{Namespace: "shop"})
	g.Expect(err).NotTo(HaveOccurred())
	u := result.Objects[0].Unstructured
	g.Expect(u.GetAnnotations()).To(Equal(map[string]string{"a": "b", "c": "d"}))
	g.Expect(u.Object["data"]).To(Equal(map[string]any{"a": "b"}))
}

func TestKustomizeOverlay(t *testing.T) {
	g := NewWithT(t)
	root := files{
		"base/kustomization.yaml": "resources: [s.yaml, c.yaml]\n",
		"base/s.yaml":             storage("local"),
		"base/c.yaml":             configuration("uploads"),
		"overlay/Kustomization": "resources: [../base]\nlabels: [{pairs: {team: shop}}]\npatches:\n- path: " +
			"p.yaml\nconfigMapGenerator:\n- name: settings\n  files: [data.bin]\n",
		"overlay/p.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: " +
			"local}\nspec: {storage: {local: {subPath: eu}}}\n",
		"overlay/data.bin":            "\x00\x01\xff",
		"overlay/not-referenced.yaml": "broken: [",
	}.write(t)
	result, err := build.Build(t.Context(), root, "overlay", build.Options{Namespace: "shop"})
	g.Expect(err).NotTo(HaveOccurred())
	from := map[string]string{}
	for _, o := range result.Objects {
		from[o.Unstructured.GetKind()] = fmt.Sprintf("%s#%d", o.File, o.Document)
		g.Expect(o.Unstructured.GetLabels()).To(HaveKeyWithValue("team", "shop"))
		g.Expect(o.Unstructured.GetAnnotations()).To(BeEmpty())
	}
	g.Expect(from).To(Equal(map[string]string{
		"BackupStorage": "base/s.yaml#1", "BackupConfiguration": "base/c.yaml#1",
		"ConfigMap": "overlay/Kustomization#0",
	}))
	g.Expect(result.Objects[0].Unstructured.Object).
		To(
			HaveKeyWithValue("spec",
				HaveKeyWithValue("storage", HaveKeyWithValue("local", HaveKeyWithValue("subPath", "eu")))))
}

func TestKustomizeSeesOnlyWhatItNames(t *testing.T) {
	g := NewWithT(t)
	root := files{
		"p/kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: ../../outside.yaml\n",
		"p/a.yaml":             storage("s"),
	}.write(t)
	f := findings(t, root, "p", confined)
	g.Expect(build.Format(f[0])).To(
		Equal(`p/kustomization.yaml:3: document 1: patches: "../../outside.yaml" leads out of the repository`))
}

func TestNamespacesOfOthersNeedAnAccount(t *testing.T) {
	g := NewWithT(t)
	text := replace(t, storage("s"), "  name: s\n", "  name: s\n  namespace: other\n") +
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n---\napiVersion: " +
		"backup.cairn.dev/v1alpha1\nkind: Function\nmetadata: {name: f, namespace: x}\nspec: {image: a}\n"
	result, err := build.Build(t.Context(), files{"a.yaml": text}.write(t), "", build.Options{Namespace: "shop"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Objects[0].Unstructured.GetNamespace()).To(Equal("other"))
	g.Expect(result.Objects[2].Unstructured.GetNamespace()).To(BeEmpty())
}

func TestFindingsAreSorted(t *testing.T) {
	g := NewWithT(t)
	bad := replace(t, replace(t, configuration("x"), "scheduler: {schedule", "scheduler: {scheduel"), "directory: /x",
		"dir: /x")
	root := files{"b.yaml": bad + "---\n" + strings.ReplaceAll(bad, "name: x", "name: y"), "a.yaml": "x"}.write(t)
	first := findings(t, root, "", confined)
	var at []string
	for _, f := range first {
		at = append(at, fmt.Sprintf("%s#%d:%d %s", f.File, f.Document, f.Line, f.Field))
	}
	g.Expect(at).To(HaveExactElements(
		"a.yaml#1:1 ",
		"b.yaml#1:12 spec.sessions[0].scheduler.scheduel", "b.yaml#1:12 spec.sessions[0].scheduler.schedule",
		"b.yaml#1:17 spec.sessions[0].repositories[0].dir",
		"b.yaml#2:31 spec.sessions[0].scheduler.scheduel", "b.yaml#2:31 spec.sessions[0].scheduler.schedule",
		"b.yaml#2:36 spec.sessions[0].repositories[0].dir",
	))
	for range 5 {
		g.Expect(findings(t, root, "", confined)).To(Equal(first))
	}
	g.Expect((&build.Error{Findings: first}).Error()).To(HaveSuffix("(and 6 more)"))
}

func TestNoSecretInFindings(t *testing.T) {
	g := NewWithT(t)
	text := "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {password: hunter2!}\nstringData: {a: " +
		"{hunter2: hunter2}}\n---\n" +
		"apiVersion: backup.cairn.dev/v1alpha1\nkind: PolicySync\nmetadata: {name: x}\nspec: {prune: true, url: " +
		"\"https://u:hunter2@host/x\"}\n"
	for _, f := range findings(t, files{"a.yaml": text}.write(t), "", build.Options{Namespace: "shop"}) {
		g.Expect(build.Format(f)).NotTo(ContainSubstring("hunter2"))
	}
}

func TestReferencesAreLookedUp(t *testing.T) {
	root := files{"c.yaml": configuration("uploads")}.write(t)
	t.Run("what only a cluster knows is a warning", func(t *testing.T) {
		g := NewWithT(t)
		result, err := build.Build(t.Context(), root, "", confined)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.Warnings).NotTo(BeEmpty())
		g.Expect(result.Warnings[0].Severity).To(Equal(check.SeverityWarning))
		g.Expect(result.Warnings[0].Line).To(BeNumerically(">", 0))
	})
}

func TestLimits(t *testing.T) {
	root := files{"a.yaml": storage("a"), "b.yaml": storage("b") + "---\n" + storage("c")}.write(t)
	for name, tc := range map[string]struct {
		limits build.Limits
		says   string
	}{
		"files":     {build.Limits{Files: 1}, "b.yaml: is beyond the limit of 1 files"},
		"bytes":     {build.Limits{Bytes: 300}, "b.yaml: file brings the directory over the limit of 300 bytes"},
		"documents": {build.Limits{Documents: 2}, "is beyond the limit of 2 documents"},
		"depth":     {build.Limits{Depth: 3}, "nested more than 3 levels"},
		"nodes":     {build.Limits{Nodes: 10}, "more than 10 values"},
		"all nodes": {
			build.Limits{AllNodes: 52},
			"b.yaml:10: document 2: document brings the directory over the limit of 52 values",
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := confined
			opts.Limits = tc.limits
			_, err := build.Build(t.Context(), root, "", opts)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.says)))
		})
	}
}

// The batches of one revision must not be expanded to more targets, whatever the cluster has.
func TestLimitOfTargets(t *testing.T) {
	batch := func(name string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupBatch\nmetadata: {name: " + name + "}\nspec:\n" +
			"  targets: [{name: all, selector: {kinds: [Deployment]}}]\n  sessions: [{name: nightly, targets: " +
			"[{name: all}]}]\n"
	}
	root := files{"a.yaml": batch("a"), "b.yaml": batch("b")}.write(t)
	for limit, says := range map[int]string{
		200: "", 199: "b.yaml:5: document 1: spec.targets: with this batch there can be more than 199 targets",
	} {
		opts := confined
		opts.Limits = build.Limits{Targets: limit}
		_, err := build.Build(t.Context(), root, "", opts)
		if says == "" {
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		} else {
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
		}
	}
}

// A batch and a session have at most 500 entries. Both mistakes name their field.
func TestLimitOfEntries(t *testing.T) {
	g := NewWithT(t)
	built := func(targets int) error {
		text := "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupBatch\nmetadata: {name: all}\nspec:\n  targets:\n"
		session := "  sessions:\n  - name: nightly\n    targets:\n"
		for i := range targets {
			text += fmt.Sprintf("  - {name: t%d, appRef: {kind: PersistentVolumeClaim, name: c%d}}\n", i, i)
			session += fmt.Sprintf("    - {name: t%d}\n", i)
		}
		_, err := build.Build(t.Context(), files{"a.yaml": text + session}.write(t), "", confined)
		return err
	}
	g.Expect(built(v1alpha1.MaxSessionTargets)).To(Succeed())
	var wrong *build.Error
	g.Expect(errors.As(built(v1alpha1.MaxSessionTargets+1), &wrong)).To(BeTrue())
	g.Expect(wrong.Findings).To(HaveLen(2))
	for i, field := range []string{"spec.targets", "spec.sessions[0].targets"} {
		g.Expect(wrong.Findings[i].Field).To(Equal(field))
		g.Expect(wrong.Findings[i].Message).To(Equal("must have at most 500 items"))
	}
}

// What a kustomization includes twice counts twice.
func TestLimitsOfKustomize(t *testing.T) {
	root := files{
		"kustomization.yaml":   "resources: [a, b]\n",
		"a/kustomization.yaml": "namePrefix: a-\nresources: [../c]\n",
		"b/kustomization.yaml": "namePrefix: b-\nresources: [../c]\n",
		"c/kustomization.yaml": "resources: [cm.yaml]\nconfigMapGenerator: [{name: x, files: [f]}]\npatches: " +
			"[{target: {kind: Nothing}, patch: \"- {op: remove, path: /a}\"}]\n",
		"c/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {l: \"[" +
			strings.Repeat("x, ", 100) +
			"]\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: dm}\nbinaryData:" + many(100),
		"c/f": strings.Repeat("x", 10_000),
	}.write(t)
	const inC, inA = 3 * (3 + 1), 3*(3+1) + 3*3 // each of c's three objects with each and with the patch
	const work = 2*inA + 6*6
	for name, tc := range map[string]struct {
		limits build.Limits
		says   string
	}{
		"values": {build.Limits{AllNodes: 350}, "kustomization needs more than 350 values"},
		"bytes":  {build.Limits{Bytes: 15_000}, "kustomization needs more than 15000 bytes"},
		"work": {
			build.Limits{Work: work - 1},
			fmt.Sprintf("kustomization needs more than %d comparisons", work-1),
		},
		"just the work":   {build.Limits{Work: work}, ""},
		"as one includes": {build.Limits{Work: inC}, "comparisons"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := build.Options{Namespace: "shop", Limits: tc.limits}
			_, err := build.Build(t.Context(), root, "", opts)
			if tc.says == "" {
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
				return
			}
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.says)))
		})
	}
}

func many(n int) string {
	text := "\n"
	for i := range n {
		text += fmt.Sprintf("  k%d: eA==\n", i)
	}
	return text
}

func TestFindingsAreBounded(t *testing.T) {
	g := NewWithT(t)
	_, err := build.Build(t.Context(), files{"a.yaml": strings.Repeat("{}\n---\n", 1500)}.write(t), "", confined)
	var found *build.Error
	g.Expect(errors.As(err, &found)).To(BeTrue())
	g.Expect(found.Findings).To(HaveLen(1000))
	g.Expect(found.Error()).To(HaveSuffix(" (and 2999 more)"))
}

func TestACancelledBuildStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := build.Build(ctx, files{"a.yaml": storage("a")}.write(t), "", confined)
	NewWithT(t).Expect(err).To(MatchError(context.Canceled))
}

func FuzzBuild(f *testing.F) {
	f.Add([]byte(storage("a")))
	f.Add([]byte("a: &a [*a]\n---\n<<: {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.HasPrefix(string(data), "-> ") {
			t.Skip("that is how these tests spell a symbolic link")
		}
		opts := confined
		opts.Limits = build.Limits{Nodes: 10_000}
		result, err := build.Build(t.Context(), files{"a.yaml": string(data)}.write(t), "", opts)
		if err == nil && len(result.Objects) == 0 {
			t.Error("neither objects nor an error")
		}
	})
}
