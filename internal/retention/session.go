package retention

import (
	"maps"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Session is what the backups of one sort have in common: the BackupConfiguration that they were made from, and its
// session. BackupConfigurations that share a Repository can give their sessions the same name. The runs of a
// BackupBatch and those of its child alone have one Session: they back up the same.
type Session struct {
	// Configuration is the value of LabelConfiguration. Empty means that nothing tells it: the Snapshot was brought
	// back, and its labels are lost or not to be believed.
	Configuration string
	// Name is the name of the session.
	Name string
}

// SessionOf returns the Session of a Snapshot.
func SessionOf(s *v1alpha1.Snapshot) Session {
	return Session{s.Labels[v1alpha1.LabelConfiguration], s.Spec.Session}
}

// Among names the Session in a message, so that it differs from the others. They can contain the Session itself.
func (s Session) Among(others []Session) string {
	for _, o := range others {
		if s.Configuration != "" && o.Name == s.Name && o != s {
			return "session " + s.Name + " of BackupConfiguration " + s.Configuration
		}
	}
	return "session " + s.Name
}

// judgeSessions judges the Snapshots of a Repository, those of each Session alone. They come newest first. One of which
// nobody knows the BackupConfiguration takes no place from one that tells it. But each newer one whose session has the
// same name takes its place: else it would stay for ever.
func (p Policy) judgeSessions(repository []*Verdict, now time.Time) {
	sessions := group(repository, func(v *Verdict) Session { return Session{v.Target, v.Session} })
	all := slices.Collect(maps.Keys(sessions))
	for s, verdicts := range sessions {
		of := ""
		if len(sessions) > 1 {
			of = "of " + s.Among(all)
		}
		if s.Configuration == "" {
			verdicts = withNamesakes(repository, s.Name)
		}
		p.judge(verdicts, of, now)
	}
}

// withNamesakes returns the verdicts about the sessions of this name: those of which nobody knows the
// BackupConfiguration, and copies of the others.
func withNamesakes(repository []*Verdict, session string) []*Verdict {
	var out []*Verdict
	for _, v := range repository {
		if v.Session != session {
			continue
		}
		if v.Target != "" {
			v = &Verdict{Snapshot: v.Snapshot}
		}
		out = append(out, v)
	}
	return out
}
