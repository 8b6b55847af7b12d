use super::{
    Topic,
    setting::{Need, Setting},
};

/// The reference page of what goes by `name`, in Markdown.
pub(crate) fn page(name: &str, topics: &[Topic]) -> String {
    let mut text = format!(
        "<!-- Printed by `rowtide plugins --markdown {name}`; change the doc comments instead. -->\n\n\
         # `{name}`\n"
    );
    for topic in topics {
        text.push_str(&chapter(topic));
    }
    text
}

fn chapter(topic: &Topic) -> String {
    let section = topic.section;
    let mut text = match topic.plugin {
        Some((name, package)) => format!(
            "\n## The {section}\n\nFrom the crate `{package}`.\n\n\
             ```toml\n[{section}]\ntype = \"{name}\"\n```\n"
        ),
        None => format!("\n## The table `[{section}]`\n"),
    };
    for paragraph in topic.doc.lines() {
        text.push_str(&format!("\n{paragraph}\n"));
    }
    if topic.settings.is_empty() {
        text.push_str("\nIt has no settings.\n");
        return text;
    }
    text.push_str("\n| key | value | default | |\n|---|---|---|---|\n");
    for setting in &topic.settings {
        text.push_str(&row(setting));
    }
    text
}

fn row(setting: &Setting) -> String {
    let need = match &setting.need {
        Need::Required => "required".to_owned(),
        Need::Default(value) => format!("`{value}`"),
        Need::Optional => String::new(),
    };
    let mut cell: Vec<_> = setting.doc.lines().map(str::to_owned).collect();
    for (value, doc) in &setting.choices {
        cell.push(format!("`{value}`: {}", doc.replace('\n', " ")));
    }
    let cell = cell.join("<br>").replace('|', "\\|");
    format!("| `{}` | {} | {need} | {cell} |\n", setting.key, setting.kind)
}
