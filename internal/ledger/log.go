package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Commit is a commit of a Ledger, read back.
type Commit struct {
	// Hash is the hash of the commit, in hexadecimal.
	Hash string
	// Time is the time of the commit, in UTC.
	Time time.Time
	// Subject is the first line of the message.
	Subject string
	// Cluster is the cluster that wrote the commit.
	Cluster string
	// Revisions are the policy revisions that were in force.
	Revisions []string
	// Objects are the objects whose records the commit added. A message names at most 200, without their UIDs and
	// revisions.
	Objects []Object
}

// Bounds of what Log downloads, in bytes. If the server can filter, Log downloads no content of files.
const (
	logPack     = 256 << 20
	logObject   = 64 << 20
	logUnpacked = 1 << 30
)

// Log returns those of the newest limit commits of a branch that a Ledger made, newest first. A branch that does not
// exist has none. Errors are gitstore's.
func Log(ctx context.Context, remote *gitstore.Remote, branch string, limit int) ([]Commit, error) {
	listing, err := remote.List(ctx)
	if err != nil {
		return nil, err
	}
	defer listing.Close()
	_, tip, ok := listing.Ref(plumbing.NewBranchReferenceName(branch))
	if !ok || limit <= 0 {
		return nil, nil
	}
	d := gitstore.Download{
		Want: []plumbing.Hash{tip}, Depth: limit, Pack: logPack, Object: logObject,
		Unpacked: logUnpacked,
	}
	if listing.CanFilter() {
		d.OmitFiles = 1
	}
	objects := memory.NewStorage()
	if err := listing.Download(ctx, d, objects); err != nil {
		return nil, err
	}
	var out []Commit
	for h, n := tip, 0; n < limit; n++ {
		c, err := object.GetCommit(objects, h)
		if err != nil {
			if n == 0 {
				return nil, fmt.Errorf("read commit %s: %w", h, err)
			}
			break // the end of the downloaded history
		}
		if parsed, ours := ParseMessage(c.Message); ours {
			parsed.Hash, parsed.Time = h.String(), c.Committer.When.UTC()
			out = append(out, parsed)
		}
		if len(c.ParentHashes) == 0 {
			break
		}
		h = c.ParentHashes[0]
	}
	return out, nil
}

// ParseMessage parses the result of Message. Hash and time are not part of it. A message without the trailer of a
// cluster is not ours.
func ParseMessage(message string) (c Commit, ours bool) {
	subject, body, _ := strings.Cut(strings.TrimSpace(message), "\n")
	c.Subject = strings.TrimSpace(subject)
	for line := range strings.SplitSeq(body, "\n") {
		if v, ok := strings.CutPrefix(line, trailerCluster+": "); ok {
			c.Cluster = oneLine(v)
			ours = c.Cluster != ""
		} else if v, ok := strings.CutPrefix(line, trailerRevision+": "); ok {
			c.Revisions = append(c.Revisions, strings.TrimSpace(v))
		} else if o, ok := parseObjectLine(line); ok {
			c.Objects = append(c.Objects, o)
		}
	}
	return c, ours
}

func parseObjectLine(line string) (Object, bool) {
	f := strings.SplitN(line, " ", 4)
	if len(f) < 3 {
		return Object{}, false
	}
	namespace, name, ok := strings.Cut(f[1], "/")
	if !ok {
		return Object{}, false
	}
	o := Object{Kind: f[0], Namespace: namespace, Name: name, Phase: f[2]}
	if len(f) == 4 {
		o.Reason = strings.TrimSuffix(strings.TrimPrefix(f[3], "("), ")")
	}
	return o, true
}
