// Both sides of the wire of mp-executor-engine 0.1, with nothing but the standard library.
//   rust_peer serve         prints its port; echoes each request; ends with its standard input
//   rust_peer call PORT N   sends N requests at once; prints the data of the replies, in the order of the requests
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, io, process, thread};

fn read(stream: &mut TcpStream) -> Result<String> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut body = vec![0; u32::from_le_bytes(size) as usize];
    stream.read_exact(&mut body)?;
    String::from_utf8(body).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

fn write(stream: &mut TcpStream, id: &str, method: &str, data: &str) -> Result<()> {
    let body = format!(r#"{{"id":"{id}","method":"{method}","status":"RUNNING","data":{data}}}"#);
    stream.write_all(&[&(body.len() as u32).to_le_bytes(), body.as_bytes()].concat())
}

// What stands behind `"name":"`, to the next quotation mark.
fn text<'a>(body: &'a str, name: &str) -> &'a str {
    let rest = body.split_once(&format!(r#""{name}":""#)).expect(name).1;
    rest.split_once('"').expect(name).0
}

// The fields come in the order in which the crate has them: data is the last one.
fn data(body: &str) -> &str {
    let rest = body.split_once(r#""data":"#).expect("data").1;
    rest.strip_suffix('}').expect("an object")
}

fn serve(mut stream: TcpStream) -> Result<()> {
    loop {
        let body = read(&mut stream)?;
        if data(&body) == r#""exit""# {
            process::exit(3);
        }
        write(&mut stream, text(&body, "id"), text(&body, "method"), data(&body))?;
    }
}

fn call(port: &str, count: usize) -> Result<()> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    let ids: Vec<String> = (0..count).map(|n| format!("6ba7b810-9dad-41d1-80b4-{n:012x}")).collect();
    for (n, id) in ids.iter().enumerate() {
        write(&mut stream, id, "Invoke", &n.to_string())?;
    }
    let mut replies = HashMap::new();
    while replies.len() < count {
        let body = read(&mut stream)?;
        replies.insert(text(&body, "id").to_string(), data(&body).to_string());
    }
    ids.iter().for_each(|id| println!("{}", replies[id]));
    Ok(())
}

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("{}", listener.local_addr()?.port());
            thread::spawn(move || listener.incoming().flatten().for_each(|one| drop(thread::spawn(|| serve(one)))));
            io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
        }
        ["call", port, count] => call(port, count.parse().expect("a number")),
        _ => Err(Error::new(ErrorKind::InvalidInput, "serve, or call PORT N")),
    }
}
