package build

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
	kustomizetypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// collector copies the files that a kustomization reaches into memory, and checks each. It refuses everything else
// that kustomize would read, fetch or run.
type collector struct {
	b       *builder
	fs      filesys.FileSystem
	files   map[string]*copiedFile   // files that were copied
	visited map[string]kustomizeCost // by directory
	order   []document               // documents of the resources, in the order of discovery
}

func newCollector(b *builder) *collector {
	return &collector{
		b: b, fs: filesys.MakeFsInMemory(), files: map[string]*copiedFile{}, visited: map[string]kustomizeCost{},
	}
}

// kustomization is one kustomization file that is being checked.
type kustomization struct {
	*collector
	dir, file string
	node      *yaml.Node
	spec      kustomizetypes.Kustomization
	cost      kustomizeCost
}

// visit collects a kustomization once, and returns its cost. A kustomization that includes itself costs nothing there;
// kustomize reports that mistake.
func (c *collector) visit(dir string) kustomizeCost {
	if r, ok := c.visited[dir]; ok {
		return r
	}
	c.visited[dir] = kustomizeCost{}
	file := c.b.kustomizationIn(dir)
	if file == "" {
		c.b.report(v1alpha1.ReasonBuildFailed, dir, 0, 0, "",
			"directory has no kustomization.yaml: add one, or name the files instead of the directory")
		return kustomizeCost{}
	}
	text := c.copy(file, true)
	if !text.valid {
		return kustomizeCost{}
	}
	if len(text.docs) != 1 || text.docs[0].node.Kind != yaml.MappingNode {
		c.b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "", "kustomization must be one YAML object")
		return kustomizeCost{}
	}
	k := &kustomization{collector: c, dir: dir, file: file, node: text.docs[0].node}
	// This is the reader of kustomize, which is lenient about the case of keys.
	data, err := c.fs.ReadFile(inMemory(file))
	if err == nil {
		err = k.spec.Unmarshal(data)
	}
	if err != nil {
		c.b.report(v1alpha1.ReasonBuildFailed, file, 1, 0, "", "kustomization is not valid: %s",
			strings.Join(strings.Fields(err.Error()), " "))
		return kustomizeCost{}
	}
	k.refusePlugins()
	k.follow()
	c.visited[dir] = k.cost.close()
	return c.visited[dir]
}

// refusePlugins refuses everything that runs programs or renders charts.
func (k *kustomization) refusePlugins() {
	for _, p := range []struct {
		field string
		used  bool
	}{
		{"helmCharts", len(k.spec.HelmCharts) > 0},
		{"helmChartInflationGenerator", len(k.spec.HelmChartInflationGenerator) > 0},
		{"helmGlobals", k.spec.HelmGlobals != nil},
		{"generators", len(k.spec.Generators) > 0},
		{"transformers", len(k.spec.Transformers) > 0},
		{"validators", len(k.spec.Validators) > 0},
	} {
		if p.used {
			k.b.report(v1alpha1.ReasonBuildFailed, k.file, 1, lineOf(k.node, p.field), p.field,
				"Helm charts and plug-ins are not supported: commit the rendered manifests instead")
		}
	}
}

// follow goes through every field that names a file.
func (k *kustomization) follow() {
	//lint:ignore SA1019 a kustomization in Git may still have bases
	bases := k.spec.Bases
	for _, field := range []struct {
		name  string
		paths []string
	}{{"resources", k.spec.Resources}, {"bases", bases}, {"components", k.spec.Components}} {
		for _, p := range field.paths {
			k.resource(field.name, p)
		}
	}
	for field, paths := range map[string][]string{"crds": k.spec.Crds, "configurations": k.spec.Configurations} {
		for _, p := range paths {
			k.yaml(field, p)
		}
	}
	if p, ok := k.spec.OpenAPI["path"]; ok {
		k.yaml("openapi", p)
	}
	//lint:ignore SA1019 a kustomization in Git may still have patchesJson6902
	for _, p := range append(append([]kustomizetypes.Patch{}, k.spec.Patches...), k.spec.PatchesJson6902...) {
		k.patch(p.Path, p.Patch)
	}
	//lint:ignore SA1019 a kustomization in Git may still have patchesStrategicMerge
	for _, p := range k.spec.PatchesStrategicMerge {
		if strings.ContainsAny(string(p), "\n{") {
			k.patch("", string(p))
		} else {
			k.patch(string(p), "")
		}
	}
	for _, r := range k.spec.Replacements {
		k.cost.patches++
		if r.Path != "" {
			k.yaml("replacements", r.Path)
		}
	}
	for _, g := range k.spec.ConfigMapGenerator {
		k.cost.objects++
		k.sources("configMapGenerator", g.KvPairSources)
	}
	for _, g := range k.spec.SecretGenerator {
		k.cost.objects++
		k.sources("secretGenerator", g.KvPairSources)
	}
}

func (k *kustomization) resource(field, p string) {
	target, ok := k.target(field, p)
	if !ok {
		return
	}
	info, err := k.b.root.Stat(target)
	switch {
	case err != nil:
		k.missing(field, p, err)
	case info.IsDir() && k.b.submodule(target):
	case info.IsDir():
		k.cost.add(k.visit(target))
	default:
		f := k.copy(target, true)
		if !f.resource {
			f.resource = true
			k.order = append(k.order, f.docs...)
		}
		k.cost.add(f.cost())
	}
}

// yaml copies a YAML file that is not a resource.
func (k *kustomization) yaml(field, p string) { k.plainFile(field, p, true) }

func (k *kustomization) plainFile(field, p string, isYAML bool) {
	target, ok := k.target(field, p)
	if !ok {
		return
	}
	if _, err := k.b.root.Stat(target); err != nil {
		k.missing(field, p, err)
		return
	}
	k.cost.add(kustomizeCost{bytes: k.copy(target, isYAML).size})
}

// patch copies a patch file, or checks an inline patch.
func (k *kustomization) patch(file, inline string) {
	k.cost.patches++
	if file != "" {
		k.yaml("patches", file)
	}
	if inline == "" {
		return
	}
	before := len(k.b.findings)
	k.check(k.b.parse(k.file, []byte(inline)))
	for i := before; i < len(k.b.findings); i++ {
		f := &k.b.findings[i]
		f.Document, f.Field, f.Line = 1, "patches", lineOf(k.node, "patches")
	}
}

// sources copies the files of a generator, which can hold anything.
func (k *kustomization) sources(field string, s kustomizetypes.KvPairSources) {
	paths := append([]string{}, s.EnvSources...)
	if s.EnvSource != "" {
		paths = append(paths, s.EnvSource)
	}
	for _, p := range s.FileSources {
		if _, after, ok := strings.Cut(p, "="); ok {
			p = after
		}
		paths = append(paths, p)
	}
	for _, p := range paths {
		k.plainFile(field, p, false)
	}
}

// target returns the path below the root that p names. It refuses a path outside the root, and everything that
// kustomize could take for a URL or a Git repository, even if a file of that name exists.
func (k *kustomization) target(field, p string) (string, bool) {
	lower := strings.ToLower(p)
	line := lineOfValue(k.node, p)
	switch {
	case strings.ContainsAny(p, ":@?") || strings.HasPrefix(lower, "github.com/"):
		k.b.report(v1alpha1.ReasonBuildFailed, k.file, 1, line, field,
			"%q is not in this repository: remote bases and "+
				"HTTP resources are not fetched; copy the files into the repository", redact(p))
		return "", false
	case path.IsAbs(p):
		k.b.report(v1alpha1.ReasonBuildFailed, k.file, 1, line, field,
			"%q is an absolute path: name the file relative to the kustomization", p)
		return "", false
	}
	target := path.Join(k.dir, p)
	if target == ".." || strings.HasPrefix(target, "../") {
		k.b.report(v1alpha1.ReasonBuildFailed, k.file, 1, line, field, "%q leads out of the repository", p)
		return "", false
	}
	return target, true
}

// redact removes the credentials of a URL.
func redact(p string) string {
	if i := strings.LastIndex(p, "@"); i >= 0 {
		if j := strings.Index(p, "://"); j >= 0 && j < i {
			return p[:j+3] + "..." + p[i:]
		}
		return "..." + p[i:]
	}
	return p
}

func (k *kustomization) missing(field, p string, err error) {
	k.b.report(v1alpha1.ReasonBuildFailed, k.file, 1, lineOfValue(k.node, p), field, "%q: %s", p,
		statProblem(err, "file"))
}
