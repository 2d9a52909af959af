package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPage(t *testing.T) {
	g := NewWithT(t)
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("Deployment/d%02d", i))
	}
	policies := []Policy{
		{
			Namespace: "shop", Kind: "BackupBatch", Name: "shop", Targets: many, NoBackup: []string{many[3], many[11]},
			Empty:      []string{"claims"},
			LastResult: "Failed", LastReason: "TargetsFailed",
			LastSuccess: slot.Add(-48 * time.Hour), Next: slot.In(time.FixedZone("x", 7200)), Late: true,
		},
		{
			Namespace: "blog", Kind: "BackupConfiguration", Name: "uploads",
			Targets:    []string{"PersistentVolumeClaim/uploads"},
			LastResult: "Succeeded", LastReason: "Succeeded", LastSuccess: slot, Next: slot.Add(24 * time.Hour),
			Due: slot.Add(30 * time.Hour),
		},
		{
			Namespace: "blog", Kind: "BackupConfiguration", Name: "a|b_[x](y)", Targets: []string{"Job/<b>\n# x"},
			NoBackup: []string{"Job/<b>\n# x"},
		},
	}
	page := string(Page("production", policies, 10*time.Minute))
	golden(t, "page.md", page)
	slices.Reverse(policies)
	g.Expect(string(Page("production", policies, 10*time.Minute))).To(Equal(page))
	golden(t, "page-empty.md", string(Page("production", nil, 10*time.Minute)))
}

// A page that nobody can change any more shows it by itself: the Git server refuses the token, or the cluster is gone.
func TestPageSaysBeforeWhenNoPolicyBecomesLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policies []Policy
		interval time.Duration
		want     string
	}{
		"no policy":                {},
		"none that is scheduled":   {policies: []Policy{{Name: "a"}}},
		"one that is late already": {policies: []Policy{{Name: "a", Late: true, Due: slot}}},
		"the first of all": {
			policies: []Policy{
				{Name: "a", Due: slot.Add(time.Hour)}, {Name: "b", Due: slot}, {Name: "c"}, {Name: "d", Late: true},
			},
			want: "**No policy becomes late before 2026-07-31 23:00.** If this page still says so an hour later, " +
				"nobody keeps it any more.\n",
		},
		"kept by a Ledger that looks seldom": {
			policies: []Policy{{Name: "a", Due: slot}}, interval: 24 * time.Hour, want: " says so 31 hours later, ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			page := Page("production", tt.policies, tt.interval)
			if tt.want == "" {
				g.Expect(string(page)).NotTo(ContainSubstring(lateFrom))
				return
			}
			g.Expect(string(page)).To(ContainSubstring(tt.want))
			without := slices.Clone(tt.policies)
			for i := range without {
				without[i].Due = time.Time{}
			}
			g.Expect(string(Retire(page, "production", slot, ""))).To(Equal(string(
				Retire(Page("production", without, tt.interval), "production", slot, ""))), "it says no time then")
		})
	}
}

// One database can be backed up in two ways: two targets of a batch name the same Service.
func TestPageSaysOnceWhatIsWrongWithAnObjectOfTwoTargets(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*Policy){
		"no backup yet": func(p *Policy) { p.NoBackup = p.Targets },
		"newest backup damaged: 1 of 4, 2 of 9": func(p *Policy) {
			p.Damage("Service/db", true, 1, 4)
			p.Damage("Service/db", true, 2, 9)
		},
		"newest backup damaged: 1 of 4; some backups damaged: 2 of 9": func(p *Policy) {
			p.Damage("Service/db", true, 1, 4)
			p.Damage("Service/db", false, 2, 9)
		},
	} {
		p := Policy{
			Namespace: "shop", Kind: "BackupBatch", Name: "shop", Targets: []string{"Service/db", "Service/db"},
		}
		edit(&p)
		page := string(Page("production", []Policy{p}, 0))
		NewWithT(t).Expect(page).To(ContainSubstring("| BackupBatch/shop | Service/db (**"+want+"**)"), page)
	}
}

// Who reads nothing but the branch learns that a restore would fail.
func TestPageNamesDamagedBackups(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := Policy{Namespace: "shop", Kind: "BackupBatch", Name: "shop"}
	for i := range 12 {
		p.Targets = append(p.Targets, fmt.Sprintf("Deployment/d%02d", i))
	}
	p.NoBackup, p.Damaged = p.Targets[11:], p.Targets[3:5]
	p.Damage(p.Targets[5], true, 1, 2)
	p.Damage(p.Targets[6], false, 5, 6)
	page := func() string { return string(Page("production", []Policy{p, {Namespace: "shop", Name: "b"}}, 0)) }
	g.Expect(page()).To(ContainSubstring("\n**No backup yet:** BackupBatch/shop in shop (1 of 12 targets).\n" +
		"\n**Damaged:** BackupBatch/shop in shop (2 of 12 targets).\n" +
		"\n**Some backups damaged:** BackupBatch/shop in shop (2 of 12 targets).\n\n## shop\n"))
	g.Expect(page()).To(ContainSubstring("| Deployment/d11 (**no backup yet**), " +
		"Deployment/d03 (**all backups damaged**), Deployment/d04 (**all backups damaged**), " +
		"Deployment/d05 (**newest backup damaged: 1 of 2**), " +
		"Deployment/d06 (**some backups damaged: 5 of 6**), Deployment/d00, "))
	p.NoBackup, p.Damaged, p.NewestDamaged, p.SomeDamaged = nil, p.Targets[1:], nil, nil
	g.Expect(page()).To(ContainSubstring(", and 2 more (**all backups damaged** of 1) |"))
}

// Who reads nothing but the branch learns that somebody has deleted all backups.
func TestPageNamesTargetsWithNoBackupLeft(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := Policy{Namespace: "shop", Kind: "BackupBatch", Name: "shop"}
	p.Targets = []string{"Deployment/a", "Job/b", "Job/c"}
	p.NoneLeft, p.NoneLeftInSome = p.Targets[1:2], p.Targets[2:]
	page := string(Page("production", []Policy{p}, 0))
	g.Expect(page).To(ContainSubstring("\n**No backup left:** BackupBatch/shop in shop (1 of 3 targets).\n" +
		"\n**No backup left in some repository:** BackupBatch/shop in shop (1 of 3 targets).\n\n## shop\n"))
	g.Expect(page).To(ContainSubstring("| Job/b (**no backup left**), " +
		"Job/c (**no backup left in some repository**), Deployment/a | "))
}

// Nobody must take a policy that starts nothing for one that does.
func TestPageSaysWhatStartsNothing(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Policy{
		"| paused | no |":    {Next: slot, Paused: true, Suspended: []string{"a"}, AllSuspended: true},
		"| suspended | no |": {Suspended: []string{"a"}, AllSuspended: true},
		"| 2026-07-31 23:00 (suspended: a, weekly\\_b) | no |": {Next: slot, Suspended: []string{"a", "weekly_b"}},
		"| - | no |": {},
	} {
		NewWithT(t).Expect(string(Page("production", []Policy{p}, 0))).To(ContainSubstring(want))
	}
}

// Who reads nothing but the branch learns that a repository is gone, which can be with all that it held.
func TestPageNamesBackupsThatCantBeRead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := Policy{Namespace: "shop", Kind: "BackupBatch", Name: "shop"}
	for i := range 12 {
		p.Targets = append(p.Targets, fmt.Sprintf("Deployment/d%02d", i))
	}
	p.Damaged = p.Targets[2:3]
	p.Lose(p.Targets[5], "RepositoryNotFound", false)
	p.Lose(p.Targets[3], "RepositoryDamaged", true)
	page := string(Page("production", []Policy{p}, 0))
	g.Expect(page).To(ContainSubstring("\n**Can't be read:** BackupBatch/shop in shop (1 of 12 targets).\n" +
		"\n**Damaged:** BackupBatch/shop in shop (1 of 12 targets).\n\n## shop\n"))
	g.Expect(page).To(ContainSubstring("| Deployment/d03 (**backups can't be read: RepositoryDamaged**), " +
		"Deployment/d02 (**all backups damaged**), " +
		"Deployment/d05 (**some backups can't be read: RepositoryNotFound**), Deployment/d00, "))
	g.Expect(page).To(HaveSuffix("Deployment/d09, and 2 more | - | - | - | no |\n"))
	for _, name := range p.Targets[6:] {
		p.Lose(name, "BucketNotFound", true)
	}
	for _, name := range p.Targets[:2] {
		p.Lose(name, "BucketNotFound", true)
	}
	g.Expect(string(Page("production", []Policy{p}, 0))).To(ContainSubstring(
		"(**all backups damaged**), and 2 more (**some backups can't be read** of 1) |"))
}

// One repository is gone, another holds damaged backups, and a third none any more: none of it hides the others.
func TestPageSaysAllThatIsWrongWithATarget(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := Policy{Namespace: "shop", Kind: "BackupBatch", Name: "shop", Targets: []string{"Deployment/a", "Job/b"}}
	p.NoneLeftInSome = p.Targets[1:]
	p.Lose("Job/b", "RepositoryNotFound", false)
	p.Damage("Job/b", true, 2, 3)
	page := string(Page("production", []Policy{p}, 0))
	g.Expect(page).To(ContainSubstring("\n**No backup left in some repository:** BackupBatch/shop in shop " +
		"(1 of 2 targets).\n\n**Some backups damaged:** BackupBatch/shop in shop (1 of 2 targets).\n\n## shop\n"))
	g.Expect(page).To(ContainSubstring("| Job/b (**no backup left in some repository; some backups can't be read: " +
		"RepositoryNotFound; newest backup damaged: 2 of 3**), Deployment/a | "))
}

// A page of very many policies and targets without a backup says how many there are.
func TestPageOfMuchWithoutBackup(t *testing.T) {
	g := NewWithT(t)
	var policies []Policy
	for i := range 12 {
		p := Policy{Namespace: "shop", Kind: "BackupBatch", Name: fmt.Sprintf("b%02d", i)}
		for j := range 13 {
			p.Targets = append(p.Targets, fmt.Sprintf("Deployment/d%02d", j))
		}
		p.NoBackup = p.Targets[1:]
		policies = append(policies, p)
	}
	page := string(Page("production", policies, 10*time.Minute))
	g.Expect(page).To(ContainSubstring("**No backup yet:** BackupBatch/b00 in shop (12 of 13 targets), "))
	g.Expect(page).To(ContainSubstring("BackupBatch/b09 in shop (12 of 13 targets), and 2 more.\n"))
	g.Expect(page).To(ContainSubstring("| Deployment/d01 (**no backup yet**), "))
	g.Expect(page).To(ContainSubstring("Deployment/d10 (**no backup yet**), and 3 more (**no backup yet** of 2) |"))

	for i := range 12 {
		policies[0].Empty = append(policies[0].Empty, fmt.Sprintf("e%02d", i))
	}
	g.Expect(string(Page("production", policies, 10*time.Minute))).To(ContainSubstring(
		"e09 (**selector finds nothing**), and 15 more (**selector finds nothing** of 2) " +
			"(**no backup yet** of 12) |"))
}
