//! From what was measured of thousands of events to what very many come to.

use exporter::benchmarking::PART_BYTES;

/// Seconds between the runs of an organisation, where the operator sets nothing else.
const INTERVAL_SECONDS: f64 = 300.0;
const MONTH_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// US dollars for a PUT, COPY, POST or LIST request, S3 Standard in us-east-1
/// (<https://aws.amazon.com/s3/pricing/>).
const DOLLARS_PER_PUT: f64 = 0.005 / 1_000.0;
/// US dollars for a GB in a month, of the first 50 TB; S3 bills a GB as 2^30 bytes (same page).
const DOLLARS_PER_GIB_AND_MONTH: f64 = 0.023;

/// What one more event costs.
#[derive(Debug, Clone, Copy)]
pub struct Slopes {
    /// Bytes of its line.
    pub line_bytes: f64,
    /// Bytes of an object.
    pub object_bytes: f64,
    /// Of one worker with one job.
    pub seconds: f64,
}

/// What a run delivers at most.
#[derive(Debug, Clone, Copy)]
pub struct RunBounds {
    /// Events.
    pub events: f64,
    /// Bytes of their lines.
    pub line_bytes: f64,
}

/// What many events come to.
#[derive(Debug, Clone, Copy)]
pub struct Many {
    /// Objects.
    pub objects: f64,
    /// Requests that S3 bills as PUTs.
    pub puts: f64,
    /// Bytes in the bucket, in GiB.
    pub gib: f64,
    /// Of one worker with one job.
    pub hours: f64,
    /// US dollars for the requests.
    pub put_dollars: f64,
    /// US dollars for a month in the bucket.
    pub storage_dollars: f64,
}

/// Events that wait for delivery all at once, of one organisation on one day: every run, and so
/// every object, is as large as a run may be.
pub fn backlog(events: f64, bounds: RunBounds, slopes: Slopes) -> Many {
    let of_an_object = bounds.events.min(bounds.line_bytes / slopes.line_bytes);
    many(events, (events / of_an_object).ceil(), slopes)
}

/// Events that come evenly over a month, of one organisation: each interval has an object.
pub fn month(events: f64, slopes: Slopes) -> Many {
    let intervals = MONTH_SECONDS / INTERVAL_SECONDS;
    many(events, intervals.min(events), slopes)
}

/// The requests by which an object of so many bytes is written, as S3 bills them: one PUT, or of a
/// larger one its begin, its parts and its end.
pub fn puts_of(bytes: f64) -> f64 {
    let of_a_part = PART_BYTES as f64;
    match bytes > of_a_part {
        true => 2.0 + (bytes / of_a_part).ceil(),
        false => 1.0,
    }
}

/// So many events in so many objects of one size. Bytes and time grow with the events by the
/// measured slopes, requests with the objects and their parts. What a run costs by itself, some
/// milliseconds, is left out, and so is what S3 takes longer than a server on the same machine.
fn many(events: f64, objects: f64, slopes: Slopes) -> Many {
    let bytes = events * slopes.object_bytes;
    let puts = objects * puts_of(bytes / objects);
    let gib = bytes / GIB;
    Many {
        objects,
        puts,
        gib,
        hours: events * slopes.seconds / 3600.0,
        put_dollars: puts * DOLLARS_PER_PUT,
        storage_dollars: gib * DOLLARS_PER_GIB_AND_MONTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: RunBounds = RunBounds {
        events: 250_000.0,
        line_bytes: 5e8,
    };
    const SLOPES: Slopes = Slopes {
        line_bytes: 1_000.0,
        object_bytes: 100.0,
        seconds: 36e-6,
    };

    #[test]
    fn a_backlog_goes_out_in_the_largest_objects_in_parts() {
        let many = backlog(1e8, BOUNDS, SLOPES);
        // 25 MB each: the begin, five parts and the end.
        assert_eq!((many.objects, many.puts), (400.0, 400.0 * 7.0));
        assert!((many.hours - 1.0).abs() < 1e-9, "{many:?}");
        assert!((many.put_dollars - 0.014).abs() < 1e-9, "{many:?}");
        assert!((many.storage_dollars - 0.2142).abs() < 1e-4, "{many:?}");
    }

    #[test]
    fn large_lines_make_more_objects() {
        let slopes = Slopes {
            line_bytes: BOUNDS.line_bytes / 1_024.0,
            ..SLOPES
        };
        assert_eq!(backlog(1e8, BOUNDS, slopes).objects, 97_657.0);
    }

    #[test]
    fn in_a_month_there_is_an_object_an_interval_and_none_without_events() {
        let many = month(1e8, SLOPES);
        assert_eq!((many.objects, many.puts), (8_640.0, 8_640.0));
        assert_eq!(month(10.0, SLOPES).objects, 10.0);
    }
}
