package build

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	fluxkustomize "github.com/fluxcd/pkg/kustomize"
	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/konfig"
	kustomizetypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	kyaml "sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// originAnnotation is the annotation in which kustomize records the file that an object comes from.
const originAnnotation = "config.kubernetes.io/origin"

// memoryRoot is the directory of the in-memory copy of the checkout. Kustomize can't build the root of a file system.
const memoryRoot = "/checkout"

func inMemory(file string) string { return path.Join(memoryRoot, file) }

// kustomizationIn returns the path of the kustomization in a directory, or "".
func (b *builder) kustomizationIn(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if info, err := b.root.Stat(path.Join(dir, name)); err == nil && !info.IsDir() {
			return path.Join(dir, name)
		}
	}
	return ""
}

// kustomize collects and checks the files that the kustomization reaches, and builds only these.
func (b *builder) kustomize(dir, file string) []source {
	c := newCollector(b)
	reached := c.visit(dir)
	if b.mistakes() > 0 || b.ctx.Err() != nil || !b.within(reached, file) {
		return nil
	}
	annotated, err := askForOrigins(c.fs, file)
	if err != nil {
		b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "", "kustomization can't be read: %s", err)
		return nil
	}
	resources, err := fluxkustomize.Build(c.fs, inMemory(dir))
	if err != nil {
		c.explain(file, err)
		return nil
	}
	var found []source
	for _, r := range resources.Resources() {
		raw, err := r.MarshalJSON()
		content := map[string]any{}
		if err == nil {
			err = utiljson.Unmarshal(raw, &content)
		}
		if err != nil {
			b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "", "result of kustomize can't be read: %s", err)
			return nil
		}
		found = append(found, c.locate(content, dir, file, annotated))
	}
	return found
}

// askForOrigins makes kustomize record where objects come from. It reports whether the kustomization requests that
// already.
func askForOrigins(fs filesys.FileSystem, file string) (already bool, err error) {
	data, err := fs.ReadFile(inMemory(file))
	if err != nil {
		return false, err
	}
	content := map[string]any{}
	if err := kyaml.Unmarshal(data, &content); err != nil {
		return false, err
	}
	asked := []any{}
	for key, value := range content {
		if !strings.EqualFold(key, "buildMetadata") {
			continue
		}
		delete(content, key)
		if list, ok := value.([]any); ok {
			asked = append(asked, list...)
		}
	}
	for _, a := range asked {
		if a == kustomizetypes.OriginAnnotations {
			return true, nil
		}
	}
	content["buildMetadata"] = append(asked, kustomizetypes.OriginAnnotations)
	if data, err = json.Marshal(content); err != nil { // JSON is also YAML
		return false, err
	}
	return false, fs.WriteFile(inMemory(file), data)
}

// locate finds the document that an object comes from. It removes the annotation that says so, unless keep is set
// because the user requested it.
func (c *collector) locate(content map[string]any, dir, kustomization string, keep bool) source {
	s := source{content: content, file: kustomization}
	meta, _ := content["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	text, _ := annotations[originAnnotation].(string)
	if !keep {
		delete(annotations, originAnnotation)
		if len(annotations) == 0 {
			delete(meta, "annotations")
		}
	}
	var origin struct {
		Path         string `json:"path"`
		ConfiguredIn string `json:"configuredIn"`
	}
	if text == "" || kyaml.Unmarshal([]byte(text), &origin) != nil {
		return s
	}
	if origin.Path == "" {
		if origin.ConfiguredIn != "" {
			s.file = path.Join(dir, origin.ConfiguredIn)
		}
		return s
	}
	s.file = path.Join(dir, origin.Path)
	name, _ := meta["name"].(string)
	if f := c.files[s.file]; f != nil {
		if d, ok := match(f.docs, content["kind"], name); ok {
			s.document, s.node = d.number, d.node
		}
	}
	return s
}

// match finds the document of a kind and a name, to which kustomize may have added a prefix and a suffix.
func match(docs []document, kind any, name string) (document, bool) {
	var best document
	score := 0
	for _, d := range docs {
		k, _ := find(d.node, "kind")
		n, _ := find(d.node, "metadata.name")
		switch {
		case k == nil || k.Value != kind || n == nil:
		case n.Value == name:
			return d, true
		case strings.Contains(name, n.Value) && len(n.Value) > score:
			best, score = d, len(n.Value)
		}
	}
	if score == 0 && len(docs) == 1 {
		return docs[0], true
	}
	return best, score > 0
}

var (
	registered = regexp.MustCompile(`already registered id: (\S+)`)
	ourPrefix  = regexp.MustCompile(regexp.QuoteMeta(memoryRoot) + `/?`)
)

// explain turns an error of kustomize into a finding. For a duplicate object it names both files.
func (c *collector) explain(file string, err error) {
	if registered.MatchString(err.Error()) && c.duplicates() {
		return
	}
	text := strings.Join(strings.Fields(ourPrefix.ReplaceAllString(err.Error(), "")), " ")
	c.b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "", "kustomize can't build this: %s", text)
}

func (c *collector) duplicates() (found bool) {
	first := map[string]document{}
	for _, d := range c.order {
		id := ""
		for _, field := range []string{"apiVersion", "kind", "metadata.namespace", "metadata.name"} {
			n, _ := find(d.node, field)
			if n != nil {
				id += n.Value
			}
			id += "\x00"
		}
		other, ok := first[id]
		if !ok {
			first[id] = d
			continue
		}
		kind, _ := find(d.node, "kind")
		name, _ := find(d.node, "metadata.name")
		if kind == nil || name == nil {
			continue
		}
		c.b.reportDuplicate(d, other, kind.Value+"/"+name.Value)
		found = true
	}
	return found
}

func (b *builder) reportDuplicate(d, first document, id string) {
	line := func(n *yaml.Node) string {
		if n == nil {
			return ""
		}
		return fmt.Sprintf(":%d", n.Line)
	}
	b.report(v1alpha1.ReasonValidationFailed, d.file, d.number, lineOf(d.node, "metadata.name"), "metadata.name",
		"%s is defined twice, first in %s%s (document %d): remove one", id, b.show(first.file), line(first.node),
		first.number)
}
