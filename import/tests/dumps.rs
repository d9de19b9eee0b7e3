//! Both dumps, whole.

use spanwire_import::Import;
use spanwire_import::ovn::{OvnOptions, import_file};
use spanwire_topology::model::Kind;
use std::path::Path;

fn import(name: &str) -> Import {
    import_file(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name),
        &OvnOptions::default(),
    )
    .unwrap()
}

#[test]
fn look() {
    for name in ["campus-12-tenants.json", "metro-200-tenants.json.gz"] {
        let t = std::time::Instant::now();
        let import = import(name);
        println!("{name} {:?}", t.elapsed());
        for kind in Kind::ALL {
            println!(
                "{kind} {}",
                import.resources.iter().filter(|r| r.spec.kind() == kind).count()
            );
        }
        for n in &import.notes {
            println!("{n}");
        }
        for n in import.unsupported.iter().take(10) {
            println!("UNSUP {n}");
        }
        if name.starts_with("campus") {
            for r in import
                .resources
                .iter()
                .filter(|r| matches!(r.spec.kind(), Kind::LogicalRouter | Kind::SecurityPolicy))
                .take(40)
            {
                println!("{:?}", r);
            }
        }
        let t = std::time::Instant::now();
        let resources = import.resources.iter().map(|r| (r.key(), r.clone())).collect();
        println!("{:?}", spanwire_oracle::problems(&resources));
        println!("{:?}", t.elapsed());
    }
}
