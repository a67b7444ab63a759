//! The browser by which pages are tested sees what is wrong with one: otherwise those tests would pass for nothing.

mod browser;

use browser::Page;
use std::fs;

/// Opens a page of this text.
fn open(text: &str) -> Option<(Page, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, text).unwrap();
    Some((Page::open(&file, (400, 300))?, folder))
}

#[test]
fn a_page_is_seen() {
    let text =
        "<!doctype html><title>t</title><canvas id=c width=10 height=10></canvas><p>tall<p style='margin-top:900px'>
        <script>
          const pen = c.getContext('2d'); pen.fillStyle = '#ff0000'; pen.fillRect(0, 0, 10, 10);
          let keys = []; addEventListener('keydown', event => keys.push(event.key));
        </script>";
    let Some((mut page, folder)) = open(text) else { return };
    assert_eq!(page.evaluate("document.title"), "t");
    assert_eq!(page.evaluate("Promise.resolve(pen.getImageData(3, 3, 1, 1).data[0])"), 255);
    page.press("ArrowRight");
    page.wait_for("keys.length == 1");
    assert_eq!(page.evaluate("keys[0]"), "ArrowRight");
    page.emulate_print(true);
    assert_eq!(page.evaluate("matchMedia('print').matches"), true);

    let size = |file: &std::path::Path| {
        let bytes = fs::read(file).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    };
    let shot = folder.path().join("shot.png");
    page.screenshot(&shot, false);
    assert_eq!(size(&shot), (400, 300));
    page.screenshot(&shot, true);
    assert!(size(&shot).1 > 900);
    assert_eq!((page.complaints().len(), page.requests().len()), (0, 0), "{:?}", page.complaints());
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    for wrong in [
        "<script>console.error('an error')</script>",
        "<script>console.warn('a warning')</script>",
        "<script>nothing.at.all</script>",
        "<script>this is no script</script>",
        "<script>Promise.reject(new Error('nobody cares'))</script>",
    ] {
        let Some((mut page, _folder)) = open(wrong) else { return };
        page.evaluate("new Promise(done => setTimeout(done, 50))");
        assert!(!page.complaints().is_empty(), "{wrong}");
    }
    let Some((page, _folder)) = open("<link rel=stylesheet href=style.css>") else { return };
    assert!(page.requests().iter().any(|url| url.ends_with("/style.css")), "{:?}", page.requests());
}
