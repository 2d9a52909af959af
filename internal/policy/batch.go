package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// batchMistakes finds everything in a batch that keeps it from being expanded.
func batchMistakes(batch *v1alpha1.BackupBatch, find Find) []Mistake {
	return targetMistakes(batch, expandTargets(batch, find))
}

// targetMistakes is batchMistakes for the given targets of the batch.
func targetMistakes(batch *v1alpha1.BackupBatch, targets []Target) []Mistake {
	check := batchCheck{
		batch:        batch,
		backends:     map[string]bool{},
		declared:     make(map[string]bool, len(batch.Spec.Targets)),
		entries:      make(map[string][]*Target, len(batch.Spec.Targets)),
		used:         make(map[string]bool, len(batch.Spec.Targets)),
		repositories: make(map[string]repositoryUse, len(targets)),
	}
	for i := range targets {
		check.entries[targets[i].Entry()] = append(check.entries[targets[i].Entry()], &targets[i])
	}
	check.declarations()
	check.names(targets)
	sessions := map[string]bool{}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if sessions[session.Name] {
			check.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "session %q is defined twice",
				session.Name)
		}
		sessions[session.Name] = true
		check.session(field, session)
	}
	for i, target := range batch.Spec.Targets {
		if !check.used[target.Name] {
			check.add(fmt.Sprintf("spec.targets[%d].name", i), v1alpha1.ReasonResourceValidationFailed,
				"no session names the target %q: it would never be backed up. Add it to a session or remove it",
				target.Name)
		}
	}
	return check.mistakes
}

type batchCheck struct {
	batch    *v1alpha1.BackupBatch
	backends map[string]bool
	// declared holds the names of spec.targets, entries the targets that each of them stands for.
	declared     map[string]bool
	entries      map[string][]*Target
	used         map[string]bool
	repositories map[string]repositoryUse
	mistakes     []Mistake
}

// repositoryUse is the first use of a repository.
type repositoryUse struct {
	target string
	info   v1alpha1.RepositoryInfo
}

func (c *batchCheck) add(field, reason, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// declarations checks spec.backends and spec.targets.
func (c *batchCheck) declarations() {
	for i, backend := range c.batch.Spec.Backends {
		field := fmt.Sprintf("spec.backends[%d]", i)
		if c.backends[backend.Name] {
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "backend %q is defined twice", backend.Name)
		}
		c.backends[backend.Name] = true
	}
	for i := range c.batch.Spec.Targets {
		target := &c.batch.Spec.Targets[i]
		field := fmt.Sprintf("spec.targets[%d]", i)
		if c.declared[target.Name] {
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed,
				"target %q is defined twice: give each its own name", target.Name)
			continue
		}
		c.declared[target.Name] = true
		if target.Selector != nil {
			c.selector(field+".selector", target)
		} else if ns := target.AppRef.Namespace; ns != "" && c.batch.Namespace != "" && ns != c.batch.Namespace {
			c.add(field+".appRef.namespace", v1alpha1.ReasonTargetNotFound,
				"a BackupBatch backs up only its own namespace: leave the namespace %q out, or create a "+
					"BackupBatch there", ns)
		}
	}
}

// selector checks the selector of a target.
func (c *batchCheck) selector(field string, target *v1alpha1.BatchTarget) {
	c.mistakes = append(c.mistakes, selectorMistakes(field, target.Selector)...)
	if most := maxTargets(target.Selector); len(c.entries[target.Name]) > most {
		c.add(field, v1alpha1.ReasonTooManyTargets,
			"it finds more objects than its maxTargets, %d: raise maxTargets, or narrow the selector. Until then no "+
				"target is added or removed", most)
	}
}

// maxTargets returns how many objects a selector is allowed to find.
func maxTargets(selector *v1alpha1.TargetSelector) int {
	return int(cmp.Or(selector.MaxTargets, v1alpha1.DefaultMaxTargets))
}

func (c *batchCheck) targetNames() []string {
	var names []string
	for i := range c.batch.Spec.Targets {
		names = append(names, c.batch.Spec.Targets[i].Name)
	}
	return names
}

// names looks for targets and children that share a name. declarations reports duplicates within spec.targets.
func (c *batchCheck) names(targets []Target) {
	if len(targets) > v1alpha1.MaxBatchTargets {
		c.add("spec.targets", v1alpha1.ReasonTooManyTargets,
			"a BackupBatch has at most %d targets, including those that selectors find: "+
				"split it into several. Until then no target is added or removed", v1alpha1.MaxBatchTargets)
	}
	position := make(map[string]int, len(c.batch.Spec.Targets))
	for i := range c.batch.Spec.Targets {
		position[c.batch.Spec.Targets[i].Name] = i
	}
	names, children := make(map[string]*Target, len(targets)), make(map[string]bool, len(targets))
	for i := range targets {
		t := &targets[i]
		field := fmt.Sprintf("spec.targets[%d].name", position[t.Entry()])
		child := ChildName(c.batch.Name, t.Name)
		switch first := names[t.Name]; {
		case first != nil && first.FoundBy == "" && t.FoundBy == "":
		case first != nil:
			c.add(field, v1alpha1.ReasonNameConflict,
				"%s and %s would both be the target %q: give the target %q another name",
				first.AppRef, t.AppRef, t.Name, t.Entry())
		case children[child]:
			c.add(field, v1alpha1.ReasonNameConflict,
				"the target %q would need a second BackupConfiguration %q: give the target another name", t.Name, child)
		}
		names[t.Name], children[child] = t, true
	}
}

// session checks what a session does for each target.
func (c *batchCheck) session(field string, session *v1alpha1.BackupBatchSession) {
	c.infos(field+".repositories", session.Repositories, true)
	seen, count := map[string]bool{}, 0
	for i := range session.Targets {
		target := &session.Targets[i]
		at := fmt.Sprintf("%s.targets[%d]", field, i)
		stands := c.entries[target.Name]
		switch {
		case !c.declared[target.Name]:
			c.add(at+".name", v1alpha1.ReasonTargetNotFound, "%s",
				NotListed("spec.targets", "target", target.Name, c.targetNames()))
		case seen[target.Name]:
			c.add(at+".name", v1alpha1.ReasonResourceValidationFailed, "the session %q names the target %q twice",
				session.Name, target.Name)
		}
		seen[target.Name], c.used[target.Name] = true, true
		c.infos(at+".repositories", target.Repositories,
			slices.ContainsFunc(stands, func(t *Target) bool { return t.FoundBy != "" }))
		from := at
		if len(target.Repositories) == 0 && len(session.Repositories) == 0 {
			c.mistakes = append(c.mistakes, BackendMistakes(at+".repositories", c.batch.Spec.Backends, "")...)
		} else if len(target.Repositories) == 0 {
			from = field
		}
		c.hooks(at, session, target)
		if !c.declared[target.Name] {
			stands = []*Target{{Name: target.Name}}
		}
		count += len(stands)
		for _, t := range stands {
			infos := TargetRepositories(session, target, t)
			for j := range infos {
				c.repository(fmt.Sprintf("%s.repositories[%d]", from, j), t.Name, &infos[j])
			}
		}
	}
	if count > v1alpha1.MaxSessionTargets {
		c.add(field+".targets", v1alpha1.ReasonTooManyTargets,
			"a session has at most %d targets, including those that selectors find: "+
				"spread them over several sessions. Until then no target is added or removed",
			v1alpha1.MaxSessionTargets)
	}
}

// infos checks the backends and directories of repositories as policy has them.
func (c *batchCheck) infos(field string, infos []v1alpha1.RepositoryInfo, template bool) {
	for i := range infos {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.mistakes = append(c.mistakes, BackendMistakes(at+".backend", c.batch.Spec.Backends, infos[i].Backend)...)
		c.mistakes = append(c.mistakes, DirectoryMistakes(at+".directory", infos[i].Directory)...)
		if template && len(infos[i].Directory) > maxTemplateDirectory {
			c.add(at+".directory", v1alpha1.ReasonResourceValidationFailed,
				"the name of each target is added to the directory, which can have at most %d characters here",
				maxTemplateDirectory)
		}
	}
}

// maxTemplateDirectory leaves room for a slash and the name of a target within the bound of RepositoryInfo.directory.
const maxTemplateDirectory = 512 - 1 - maxLabelValue

// maxHooks is how many hooks a session can have at one stage in the API.
const maxHooks = 16

// hooks checks that the hooks of a target and those of the session have different names: a backup of the target alone
// runs both.
func (c *batchCheck) hooks(at string, session *v1alpha1.BackupBatchSession, target *v1alpha1.BatchSessionTarget) {
	if target.Hooks == nil {
		return
	}
	around := v1alpha1.BackupHooks{}
	if session.Hooks != nil {
		around = *session.Hooks
	}
	own := target.Hooks.BackupHooks()
	if own == nil {
		return
	}
	for _, stage := range []struct {
		field      string
		outer, own []v1alpha1.HookInfo
	}{{".hooks.preBackup", around.PreBackup, own.PreBackup}, {".hooks.postBackup", around.PostBackup, own.PostBackup}} {
		if n := len(stage.outer) + len(stage.own); n > maxHooks {
			c.add(at+stage.field, v1alpha1.ReasonInvalidHook,
				"the target has %d hooks here, including those of the session %q: at most %d are possible", n,
				session.Name, maxHooks)
		}
		names := map[string]bool{}
		for _, h := range stage.outer {
			names[h.Name] = true
		}
		for i, h := range stage.own {
			if names[h.Name] {
				c.add(fmt.Sprintf("%s%s[%d].name", at, stage.field, i), v1alpha1.ReasonInvalidHook,
					"the session %q or the target has another hook %q here: give each hook its own name",
					session.Name, h.Name)
			}
			names[h.Name] = true
		}
	}
}

// repository checks that only one target names a repository, and that its settings are the same wherever it is named.
func (c *batchCheck) repository(field, target string, info *v1alpha1.RepositoryInfo) {
	if info.Name == "" {
		return // The repository gets the name of the target's own BackupConfiguration.
	}
	first, ok := c.repositories[info.Name]
	switch {
	case !ok:
		c.repositories[info.Name] = repositoryUse{target: target, info: *info}
	case first.target != target:
		c.add(field+".name", v1alpha1.ReasonRepositoryConflict,
			"the repository %q already holds the backups of the target %q: give the target %q a repository of its own",
			info.Name, first.target, target)
	case !SameSettings(&first.info, info):
		c.add(field, v1alpha1.ReasonRepositoryConflict,
			"the repository %q has another backend, directory, encryptionSecret or deletionPolicy in an earlier "+
				"session: use the same in both", info.Name)
	}
}

// SameSettings reports whether two settings of a repository agree, as far as both set something.
func SameSettings(a, b *v1alpha1.RepositoryInfo) bool {
	return (a.Backend == "" || b.Backend == "" || a.Backend == b.Backend) &&
		(a.Directory == "" || b.Directory == "" ||
			NormalizeDirectory(a.Directory) == NormalizeDirectory(b.Directory)) &&
		(a.EncryptionSecret == nil || b.EncryptionSecret == nil || *a.EncryptionSecret == *b.EncryptionSecret) &&
		orRetain(a.DeletionPolicy) == orRetain(b.DeletionPolicy)
}

func orRetain(p v1alpha1.RepositoryDeletionPolicy) v1alpha1.RepositoryDeletionPolicy {
	return cmp.Or(p, v1alpha1.RetainRepository)
}
