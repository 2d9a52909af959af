package mover_test

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/policies"
)

// shipped are the Addons and Functions of the catalog.
var shipped = sync.OnceValues(func() (map[string]*v1alpha1.Addon, map[string]*v1alpha1.Function) {
	addons, functions := map[string]*v1alpha1.Addon{}, map[string]*v1alpha1.Function{}
	err := fs.WalkDir(policies.Catalog, "catalog", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text := must(policies.Catalog.ReadFile(path))
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var addon v1alpha1.Addon
			if err := yaml.Unmarshal([]byte(document), &addon); err != nil {
				return err
			}
			if addon.Kind == v1alpha1.AddonKind {
				addons[addon.Name] = &addon
				continue
			}
			var function v1alpha1.Function
			if err := yaml.Unmarshal([]byte(document), &function); err != nil {
				return err
			}
			functions[function.Name] = &function
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return addons, functions
})

// The tasks of every Addon for a database.
const (
	backupOf  = "logical-backup"
	restoreOf = "logical-backup-restore"
)

// catalogTask is a task of the catalog for a server of the tests.
type catalogTask struct {
	addon   string
	server  *databaseServer
	host    string // 127.0.0.1 unless said otherwise
	params  map[string]string
	confirm bool
	backs   string // name of the task that backs up, backupOf unless said otherwise
}

// components returns what the manager makes of a task, with the paths of p and the programs of this machine.
func (c catalogTask) components(p *pod, restore bool, names ...string) []task.Component {
	p.t.Helper()
	g := NewWithT(p.t)
	addons, functions := shipped()
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	given := maps.Clone(c.params)
	if restore { // The components say which databases, and nobody asks for rights.
		delete(given, "databases")
		delete(given, "probeArgs")
	}
	params, err := json.Marshal(given)
	g.Expect(err).NotTo(HaveOccurred())
	reference := v1alpha1.TaskReference{Name: cmp.Or(c.backs, backupOf), Params: &apiextensionsv1.JSON{Raw: params}}
	if restore {
		reference.Name = restoreOf
	}
	info := v1alpha1.AddonInfo{Name: c.addon, Tasks: []v1alpha1.TaskReference{reference}}
	vars := catalog.Variables{
		MoverImage: "mover", TargetImage: "database", TargetHost: "127.0.0.1",
		TargetPort: c.server.port,
	}
	if c.host != "" {
		vars.TargetHost = c.host
	}
	if c.confirm {
		vars.Confirm = "uid"
	}
	_, _, refusal := catalog.Resolve(addons[c.addon], lookup, info, restore, vars)
	g.Expect(refusal).To(BeNil(), "%+v", refusal)
	streams, refusal := catalog.Streams(addons[c.addon], lookup, info, restore, vars, names)
	g.Expect(refusal).To(BeNil(), "%+v", refusal)
	var out []task.Component
	for _, s := range streams {
		out = append(out, task.Component{Name: s.Component, Stream: p.here(s.Stream)})
	}
	return out
}

// here puts the paths of a stream below the root of the pod, and uses the programs of this machine.
func (p *pod) here(s *v1alpha1.ResolvedStream) *v1alpha1.ResolvedStream {
	p.t.Helper()
	paths := strings.NewReplacer(task.StreamDir, filepath.Join(p.root, task.StreamDir), task.DatabaseDir,
		filepath.Join(p.root, task.DatabaseDir))
	program := func(command []string, args []v1alpha1.ResolvedStreamArgument) {
		command[0] = databaseProgram(p.t, command[0])
		for i := range command[1:] {
			command[i+1] = paths.Replace(command[i+1])
		}
		for i := range args {
			args[i].Value = paths.Replace(args[i].Value)
		}
	}
	s = s.DeepCopy()
	program(s.Command, s.Args)
	if s.Probe != nil {
		program(s.Probe.Command, s.Probe.Args)
	}
	if s.Finish != nil {
		program(s.Finish.Command, s.Finish.Args)
	}
	for i := range s.Env {
		s.Env[i].Value = paths.Replace(s.Env[i].Value)
	}
	return s
}

// backup runs the backup.
func (c catalogTask) backup(p *pod, snapshot string) *task.Result {
	p.t.Helper()
	_, result := p.run(p.t.Context(), backupTask(snapshot, c.components(p, false)...))
	return result
}

// backedUp runs the backup, which must succeed.
func (c catalogTask) backedUp(p *pod, snapshot string) *task.Result {
	p.t.Helper()
	result := c.backup(p, snapshot)
	NewWithT(p.t).Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	return result
}

// restore restores everything that a backup made.
func (c catalogTask) restore(p *pod, made *task.Result) *task.Result {
	p.t.Helper()
	var names []string
	for _, component := range made.Components {
		names = append(names, component.Name)
	}
	in := restoreTask("")
	in.Components = c.components(p, true, names...)
	for i := range in.Components {
		in.Components[i].ID = made.Components[i].ID
	}
	if c.confirm {
		in.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
	}
	_, result := p.run(p.t.Context(), in)
	return result
}

// restored runs the restore, which must succeed.
func (c catalogTask) restored(p *pod, made *task.Result) {
	p.t.Helper()
	result := c.restore(p, made)
	NewWithT(p.t).Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
}

// with returns the task with other parameters: names and values alternate.
func (c catalogTask) with(params ...string) catalogTask {
	c.params = map[string]string{}
	for i := 0; i < len(params); i += 2 {
		c.params[params[i]] = params[i+1]
	}
	return c
}

// on returns the task for another server.
func (c catalogTask) on(s *databaseServer) catalogTask {
	c.server = s
	return c
}

// confirmed returns the task with the consent to replace existing data.
func (c catalogTask) confirmed() catalogTask {
	c.confirm = true
	return c
}

// login writes the Secret that the pod sees.
func (p *pod) login(values ...string) {
	p.t.Helper()
	for _, key := range []string{"username", "password", "ca.crt", "tls.crt", "tls.key"} {
		p.write("cairn/database/"+key, "")
		p.remove("cairn/database/" + key)
	}
	for i := 0; i < len(values); i += 2 {
		p.write("cairn/database/"+values[i], values[i+1])
	}
}
