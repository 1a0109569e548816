package validate

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// DataImportCron checks one that is to be created.
func DataImportCron(c *cdiv1.DataImportCron) Causes {
	spec, path := &c.Spec, field.NewPath("spec")
	return first(
		func() Causes { return length(field.NewPath("metadata", "name"), c.Name, labelLimit) },
		func() Causes { return template(path.Child("template", "spec"), &spec.Template.Spec) },
		func() Causes {
			if err := Schedule(spec.Schedule); err != nil {
				return invalid(path.Child("schedule"), "Illegal cron schedule %q: %v", spec.Schedule, err)
			}
			return nil
		},
		func() Causes {
			if spec.ImportsToKeep != nil && *spec.ImportsToKeep < 0 {
				return invalid(path.Child("importsToKeep"), "Illegal ImportsToKeep value %d", *spec.ImportsToKeep)
			}
			return nil
		},
		func() Causes {
			if g := spec.GarbageCollect; g != nil && *g != "" && *g != cdiv1.DataImportCronGarbageCollectNever && *g != cdiv1.DataImportCronGarbageCollectOutdated {
				return invalid(path.Child("garbageCollect"), "Illegal GarbageCollect value %q: neither %s nor %s", *g,
					cdiv1.DataImportCronGarbageCollectOutdated, cdiv1.DataImportCronGarbageCollectNever)
			}
			return nil
		},
		func() Causes {
			if r := spec.RetentionPolicy; r != nil && *r != "" && *r != cdiv1.DataImportCronRetainNone && *r != cdiv1.DataImportCronRetainAll {
				return invalid(path.Child("retentionPolicy"), "Illegal RetentionPolicy value %q: neither %s nor %s", *r,
					cdiv1.DataImportCronRetainAll, cdiv1.DataImportCronRetainNone)
			}
			return nil
		},
		func() Causes {
			if spec.ManagedDataSource == "" {
				return invalid(path.Child("managedDataSource"), "Illegal ManagedDataSource value: it is empty")
			}
			return length(path.Child("managedDataSource"), spec.ManagedDataSource, labelLimit)
		},
	)
}

// template checks the DataVolume that a cron makes others from.
func template(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	return first(
		func() Causes {
			if spec.SourceRef != nil || spec.ContentType != "" || len(spec.Checkpoints) > 0 || spec.FinalCheckpoint {
				return invalid(path, "Unsettable fields: SourceRef, ContentType, Checkpoints, FinalCheckpoint")
			}
			return nil
		},
		func() Causes {
			if spec.Source == nil || spec.Source.Registry == nil && spec.Source.PVC == nil {
				return invalid(path.Child("source"), "Missing source: a template needs registry or pvc")
			}
			return nil
		},
		func() Causes { return DataVolumeSpec(path, spec) },
	)
}

// DataImportCronUpdate lets nothing change.
func DataImportCronUpdate(old, c *cdiv1.DataImportCron) Causes {
	if equality.Semantic.DeepEqual(old.Spec, c.Spec) {
		return nil
	}
	return duplicate("DataImportCron.Spec", "Cannot update DataImportCron Spec")
}

// cronFields are the five fields of a schedule, with the names that may stand for numbers.
var cronFields = []struct {
	name     string
	min, max int
	words    []string // the first stands for min
}{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// Schedule checks a cron schedule: five fields of numbers, names, ranges, lists and steps, or one of @hourly, @daily, @weekly,
// @monthly, @yearly and their other names. The empty one means that only others trigger the cron.
func Schedule(s string) error {
	switch s {
	case "", "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually":
		return nil
	}
	fields := strings.Fields(s)
	if len(fields) != len(cronFields) {
		return fmt.Errorf("%d fields, not %d", len(fields), len(cronFields))
	}
	for i, f := range cronFields {
		for part := range strings.SplitSeq(fields[i], ",") {
			span, step, stepped := strings.Cut(part, "/")
			if stepped {
				if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.max {
					return fmt.Errorf("%s: step %q", f.name, step)
				}
			}
			if span == "*" || span == "?" && strings.HasPrefix(f.name, "day") {
				continue
			}
			from, to, ranged := strings.Cut(span, "-")
			a, ok := cronNumber(from, f.min, f.max, f.words)
			if !ok {
				return fmt.Errorf("%s: %q is not within %d-%d", f.name, from, f.min, f.max)
			}
			if !ranged {
				continue
			}
			b, ok := cronNumber(to, f.min, f.max, f.words)
			if !ok || b < a {
				return fmt.Errorf("%s: range %q", f.name, span)
			}
		}
	}
	return nil
}

func cronNumber(s string, low, high int, words []string) (int, bool) {
	for i, w := range words {
		if strings.EqualFold(s, w) {
			return low + i, true
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= low && n <= high
}
