package policy

import (
	"cmp"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// batchMistakes finds everything in a batch that keeps it from being expanded.
func batchMistakes(batch *v1alpha1.BackupBatch) []Mistake {
	check := batchCheck{
		batch:        batch,
		backends:     map[string]bool{},
		targets:      map[string]bool{},
		used:         map[string]bool{},
		repositories: map[string]repositoryUse{},
	}
	check.declarations()
	sessions := map[string]bool{}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if sessions[session.Name] {
			check.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two sessions have the name %q", session.Name)
		}
		sessions[session.Name] = true
		check.session(field, session)
	}
	for i, target := range batch.Spec.Targets {
		if !check.used[target.Name] {
			check.add(fmt.Sprintf("spec.targets[%d].name", i), v1alpha1.ReasonResourceValidationFailed,
				"no session names the target %q: it would never be backed up. Add it to a session or remove it", target.Name)
		}
	}
	return check.mistakes
}

type batchCheck struct {
	batch        *v1alpha1.BackupBatch
	backends     map[string]bool
	targets      map[string]bool
	used         map[string]bool
	repositories map[string]repositoryUse
	mistakes     []Mistake
}

// repositoryUse is how a repository was first named.
type repositoryUse struct {
	target string
	info   v1alpha1.RepositoryInfo
}

func (c *batchCheck) add(field, reason, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// declarations reads spec.backends and spec.targets.
func (c *batchCheck) declarations() {
	for i, backend := range c.batch.Spec.Backends {
		field := fmt.Sprintf("spec.backends[%d]", i)
		if c.backends[backend.Name] {
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two backends have the name %q", backend.Name)
		}
		c.backends[backend.Name] = true
	}
	children := map[string]bool{}
	for i, target := range c.batch.Spec.Targets {
		field := fmt.Sprintf("spec.targets[%d]", i)
		child := ChildName(c.batch.Name, target.Name)
		switch {
		case c.targets[target.Name]:
			c.add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two targets have the name %q: give each its own", target.Name)
		case children[child]:
			c.add(field+".name", v1alpha1.ReasonNameConflict,
				"the target %q would make a second BackupConfiguration %q: give it another name", target.Name, child)
		}
		c.targets[target.Name], children[child] = true, true
		if ns := target.AppRef.Namespace; ns != "" && c.batch.Namespace != "" && ns != c.batch.Namespace {
			c.add(field+".appRef.namespace", v1alpha1.ReasonTargetNotFound,
				"a batch backs up its own namespace: leave the namespace %q out, or make a batch there", ns)
		}
	}
}

// session reads what a session does for each target.
func (c *batchCheck) session(field string, session *v1alpha1.BackupBatchSession) {
	seen := map[string]bool{}
	for i := range session.Targets {
		target := &session.Targets[i]
		at := fmt.Sprintf("%s.targets[%d]", field, i)
		switch {
		case !c.targets[target.Name]:
			c.add(at+".name", v1alpha1.ReasonTargetNotFound, "spec.targets has no target %q", target.Name)
		case seen[target.Name]:
			c.add(at+".name", v1alpha1.ReasonResourceValidationFailed, "the session %q names the target %q twice", session.Name, target.Name)
		}
		seen[target.Name], c.used[target.Name] = true, true
		if len(target.Repositories) == 0 {
			c.mistakes = append(c.mistakes, backendMistakes(at+".repositories", c.batch.Spec.Backends, "")...)
		}
		c.hooks(at, session, target)
		for j := range target.Repositories {
			c.repository(fmt.Sprintf("%s.repositories[%d]", at, j), target.Name, &target.Repositories[j])
		}
	}
}

// maxHooks is how many hooks of one stage a session may have in the API.
const maxHooks = 16

// hooks checks that the hooks of a target and those around it can be told apart: a backup of the target alone has both.
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
				"the target has %d hooks here together with those of the session %q: at most %d fit", n, session.Name, maxHooks)
		}
		names := map[string]bool{}
		for _, h := range stage.outer {
			names[h.Name] = true
		}
		for i, h := range stage.own {
			if names[h.Name] {
				c.add(fmt.Sprintf("%s%s[%d].name", at, stage.field, i), v1alpha1.ReasonInvalidHook,
					"the session %q or the target has another hook %q here: give each its own name", session.Name, h.Name)
			}
			names[h.Name] = true
		}
	}
}

// repository checks that a repository is named the same way wherever it is named, and by one target only.
func (c *batchCheck) repository(field, target string, info *v1alpha1.RepositoryInfo) {
	c.mistakes = append(c.mistakes, backendMistakes(field+".backend", c.batch.Spec.Backends, info.Backend)...)
	c.mistakes = append(c.mistakes, directoryMistakes(field+".directory", info.Directory)...)
	if info.Name == "" {
		return // It has the name of the target's own BackupConfiguration.
	}
	first, ok := c.repositories[info.Name]
	switch {
	case !ok:
		c.repositories[info.Name] = repositoryUse{target: target, info: *info}
	case first.target != target:
		c.add(field+".name", v1alpha1.ReasonRepositoryConflict,
			"the repository %q holds the backups of the target %q already: give %q its own", info.Name, first.target, target)
	case !sameRepository(&first.info, info):
		c.add(field, v1alpha1.ReasonRepositoryConflict,
			"the repository %q has another backend, directory, encryptionSecret or deletionPolicy in an earlier session: say the same in both", info.Name)
	}
}

// sameRepository says whether two say the same, as far as both say something.
func sameRepository(a, b *v1alpha1.RepositoryInfo) bool {
	return (a.Backend == "" || b.Backend == "" || a.Backend == b.Backend) &&
		(a.Directory == "" || b.Directory == "" || NormalizeDirectory(a.Directory) == NormalizeDirectory(b.Directory)) &&
		(a.EncryptionSecret == nil || b.EncryptionSecret == nil || *a.EncryptionSecret == *b.EncryptionSecret) &&
		orRetain(a.DeletionPolicy) == orRetain(b.DeletionPolicy)
}

func orRetain(p v1alpha1.RepositoryDeletionPolicy) v1alpha1.RepositoryDeletionPolicy {
	return cmp.Or(p, v1alpha1.RetainRepository)
}
